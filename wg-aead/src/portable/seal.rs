//! Seals a group: all blocks of all packets one behind the other, the tags behind them.

use zeroize::Zeroize;

use super::pass::{Cipher, LANES, Lanes, Position, wipe_stack};
use super::tags::{Beside, Ready, Tags};
use crate::packet::{Group, Packet};

/// Seals a group.
pub(crate) fn seal<C: Cipher>(group: &mut Group<'_, '_>) {
    let members = group.members();
    let count = members.len();
    for packet in members.iter_mut().flatten() {
        if packet.summing {
            packet.sum = packet.sum_before(packet.text.len());
            if !is_patched_later(packet) {
                packet.apply_patch();
            }
        }
    }
    let mut tags = Tags::<true>::new();
    let mut streams = [[0; 8]; LANES];
    let (mut next, mut ready) = (Position::default(), Ready::default());
    while next.member < count {
        let mut lanes = Lanes::new();
        while lanes.len < C::LANES
            && let Some(Some(packet)) = members.get(next.member)
        {
            lanes.push(next);
            next.block += 1;
            if next.block > packet.blocks() {
                next = Position { member: next.member + 1, block: 0 };
            }
        }
        lanes.run::<C>(members, &mut streams, Beside::new(&mut tags, members, ready));
        for (position, stream) in lanes.positions().iter().zip(&streams) {
            let Some(Some(packet)) = members.get_mut(position.member) else { continue };
            if position.block == 0 {
                tags.set_key(position.member, stream);
            } else {
                packet.apply(position.block, stream);
                if position.block == packet.blocks() && is_patched_later(packet) {
                    packet.apply_patch();
                }
            }
        }
        ready = Ready::before(next.member);
        if let Some(Some(packet)) = members.get(next.member)
            && !is_patched_later(packet)
        {
            ready.bytes = 64 * next.block.saturating_sub(1);
        }
    }
    tags.advance(members, Ready::before(count));
    for (at, packet) in members.iter_mut().flatten().enumerate() {
        packet.tag = tags.get(at).unwrap_or_default();
    }
    streams.zeroize();
    tags.zeroize();
    wipe_stack();
}

/// Whether a checksum cannot be put into the plaintext, since that is elsewhere: then it is put into the ciphertext, and the
/// tag waits for it.
fn is_patched_later(packet: &Packet<'_>) -> bool {
    packet.patch.is_some_and(|patch| patch.field as usize + 2 > packet.lead)
}
