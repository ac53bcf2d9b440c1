//! A network between two hosts that loses, delays, duplicates, reorders and corrupts, the same way for the same seed.

use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;
use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// What happens to datagrams. Reordering comes from delays that overlap.
#[derive(Clone, Debug)]
pub(crate) struct Impairment {
    pub(crate) delay: Range<Duration>,
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    pub(crate) corrupt: f64,
}

impl Impairment {
    /// Every datagram arrives once, after `delay`.
    pub(crate) fn perfect(delay: Duration) -> Self {
        Self { delay: delay..delay, loss: 0.0, duplicate: 0.0, corrupt: 0.0 }
    }
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) datagram: Vec<u8>,
}

pub(crate) struct Netem {
    pub(crate) impairment: Impairment,
    rng: ChaCha20Rng,
    serial: u64,
    in_flight: BTreeMap<(Duration, u64), InFlight>,
}

impl Netem {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            impairment: Impairment::perfect(Duration::from_millis(10)),
            rng: ChaCha20Rng::seed_from_u64(seed),
            serial: 0,
            in_flight: BTreeMap::new(),
        }
    }

    /// Takes a datagram at `now`.
    pub(crate) fn send(&mut self, now: Duration, datagram: InFlight) {
        if self.happens(self.impairment.loss) {
            return;
        }
        let copies = 1 + u32::from(self.happens(self.impairment.duplicate));
        for _ in 0..copies {
            let mut copy = datagram.clone();
            if self.happens(self.impairment.corrupt) {
                let bit = self.below(copy.datagram.len() as u64 * 8);
                copy.datagram[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
            }
            let Range { start, end } = self.impairment.delay;
            let spread = u64::try_from((end - start).as_nanos()).unwrap();
            let delay = start + Duration::from_nanos(self.below(spread + 1));
            self.put(now + delay, copy);
        }
    }

    /// Puts a datagram on the wire that arrives at `at`, whatever the impairment.
    pub(crate) fn put(&mut self, at: Duration, datagram: InFlight) {
        self.serial += 1;
        self.in_flight.insert((at, self.serial), datagram);
    }

    pub(crate) fn next_arrival(&self) -> Option<Duration> {
        self.in_flight.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn take_arrived(&mut self, now: Duration) -> Option<InFlight> {
        let entry = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    fn happens(&mut self, probability: f64) -> bool {
        f64::from(self.rng.next_u32()) < probability * 4_294_967_296.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.rng.next_u64() % end
    }
}
