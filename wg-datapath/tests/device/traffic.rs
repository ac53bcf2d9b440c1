//! Traffic to check the order of: packets of random lengths to several ends, each with its number.

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_datapath::Config;

use crate::rig::{A, B, C, Rig, inner, numbered};

pub(crate) const D: usize = 3;

/// What was sent to whom, in order.
pub(crate) type Expected = BTreeMap<usize, Vec<Vec<u8>>>;

/// Packets from one end to others, in random order, of random lengths, each with its number.
pub(crate) struct Traffic {
    rng: ChaCha20Rng,
    number: u32,
}

impl Traffic {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: ChaCha20Rng::seed_from_u64(seed), number: 0 }
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.rng.next_u32() as usize % end
    }

    /// Mostly the longest and the shortest, as in real life.
    pub(crate) fn len(&mut self, max: usize) -> usize {
        match self.below(4) {
            0 => max,
            1 => 24 + self.below(100),
            _ => 24 + self.below(max - 23),
        }
    }

    pub(crate) fn burst(
        &mut self,
        rig: &mut Rig,
        from: usize,
        to: &[usize],
        count: usize,
        max: usize,
    ) -> Expected {
        let mut expected = Expected::new();
        for _ in 0..count {
            let to = to[self.below(to.len())];
            self.number += 1;
            let packet = numbered(inner(from), inner(to), self.len(max), self.number);
            rig[from].tun.inner.outgoing.push_back(packet.clone());
            expected.entry(to).or_default().push(packet);
        }
        expected
    }
}

pub(crate) fn assert_delivered(rig: &mut Rig, expected: &Expected) {
    for (to, packets) in expected {
        let delivered = rig[*to].delivered();
        let numbers =
            |packets: &[Vec<u8>]| packets.iter().map(|packet| packet[20..24].to_vec()).collect::<Vec<_>>();
        assert_eq!(numbers(&delivered), numbers(packets), "numbers at end {to}");
        assert_eq!(delivered, *packets, "bytes at end {to}");
    }
}

/// Four ends; `A` has a session with each of the others.
pub(crate) fn star(mtu: usize) -> Rig {
    let mut rig = Rig::with_config(4, Config { mtu, ..Config::default() });
    for other in [B, C, D] {
        rig.connect(A, other);
    }
    rig
}
