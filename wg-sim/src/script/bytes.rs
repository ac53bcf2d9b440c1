//! The byte form of a script: total, bounded, and stable under small changes.
//!
//! One byte of nodes, one of the seed, then one of each operation's kind with its parts behind it. Where bytes are missing
//! there are zeros.

use super::{NodeKind, Op, Script};

/// Operations in a script of bytes, at most.
const MAX_OPS: usize = 256;

/// Packets of one operation, at most.
const MAX_COUNT: u16 = 64;

/// Bytes that never run out.
pub(super) struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (here, rest) = self.0.split_at(N.min(self.0.len()));
        taken[..here.len()].copy_from_slice(here);
        self.0 = rest;
        taken
    }
}

impl Script {
    /// Makes a script of any bytes. What it asks for is bounded: a run of it takes milliseconds to a second.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut bytes = Bytes(bytes);
        let [nodes, seed] = bytes.take();
        let kinds: &[NodeKind] = match nodes % 4 {
            0 => &[NodeKind::Peer, NodeKind::Peer],
            1 => &[NodeKind::Device, NodeKind::Device],
            2 => &[NodeKind::Device, NodeKind::Peer],
            _ => &[NodeKind::Device, NodeKind::Device, NodeKind::Peer],
        };
        let mut script = Self::new(seed.into(), kinds);
        while !bytes.0.is_empty() && script.ops.len() < MAX_OPS {
            let [kind] = bytes.take();
            script.ops.push(tame(Op::decode(kind.into(), &mut bytes)));
        }
        script
    }

    /// Writes the byte form. What it has no bytes for is lost: long seeds, more hosts than three, large numbers.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let nodes = match self.nodes[..] {
            [NodeKind::Peer, NodeKind::Peer] => 0,
            [NodeKind::Device, NodeKind::Device] => 1,
            [_, _] => 2,
            _ => 3,
        };
        let mut bytes = vec![nodes, self.seed.to_le_bytes()[0]];
        self.ops.iter().for_each(|op| op.encode(&mut bytes));
        bytes
    }
}

/// Bounds what an operation asks for.
fn tame(mut op: Op) -> Op {
    match &mut op {
        Op::Send { count, .. }
        | Op::Stream { count, .. }
        | Op::Forge { count, .. }
        | Op::Twin { count, .. } => *count %= MAX_COUNT + 1,
        // What must happen soon is given the time that it may take after anything.
        Op::Reach { .. } | Op::Settle { .. } => op = Op::Heal,
        _ => {}
    }
    op
}
