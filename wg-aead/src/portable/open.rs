//! Opens a group: all one-time keys, then tag by tag, and what is authentic is decrypted.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::pass::{Cipher, LANES, Lanes, Members, Position, wipe_stack};
use super::tags::{Beside, Ready, Tags};
use crate::checksum::Sum;
use crate::packet::Group;

/// Opens a group.
pub(crate) fn open<C: Cipher>(group: &mut Group<'_, '_>) {
    let members = group.members();
    let count = members.len();
    let mut opening = Opening { members, tags: Tags::new(), verified: 0 };
    let mut streams = [[0; 8]; LANES];

    // The keys; lanes to spare are for the first blocks of text.
    let mut next = Position { member: 0, block: 1 };
    let (mut lanes, mut keys) = (Lanes::new(), 0);
    for first in (0..count).step_by(C::LANES) {
        lanes = Lanes::new();
        for member in (first..count).take(C::LANES) {
            lanes.push(Position { member, block: 0 });
        }
        keys = lanes.len;
        while lanes.len < C::LANES && next.member < count {
            if next.block > opening.blocks(next.member) {
                next = Position { member: next.member + 1, block: 1 };
            } else {
                lanes.push(next);
                next.block += 1;
            }
        }
        lanes.run::<C>(opening.members, &mut streams, ());
        for (position, stream) in lanes.positions().iter().zip(&streams).take(keys) {
            opening.tags.set_key(position.member, stream);
        }
    }
    for (position, stream) in lanes.positions().iter().zip(&streams).skip(keys) {
        if opening.is_authentic(position.member) {
            opening.decrypt(*position, stream);
        }
    }

    loop {
        let mut lanes = Lanes::new();
        while lanes.len < C::LANES && next.member < count {
            if opening.is_authentic(next.member) && next.block <= opening.blocks(next.member) {
                lanes.push(next);
                next.block += 1;
            } else {
                next = Position { member: next.member + 1, block: 1 };
            }
        }
        if lanes.len == 0 {
            break;
        }
        let Opening { members, tags, .. } = &mut opening;
        lanes.run::<C>(members, &mut streams, Beside::new(tags, members, Ready::before(count)));
        for (position, stream) in lanes.positions().iter().zip(&streams) {
            opening.decrypt(*position, stream);
        }
    }
    // Those without text that no block led to.
    if let Some(last) = count.checked_sub(1) {
        opening.is_authentic(last);
    }
    for packet in opening.members.iter_mut().flatten() {
        if packet.authentic && packet.summing {
            packet.sum = Sum::of(packet.text);
        }
    }
    streams.zeroize();
    opening.tags.zeroize();
    wipe_stack();
}

struct Opening<'m, 'g, 'a> {
    members: &'m mut Members<'g, 'a>,
    tags: Tags<false>,
    /// How many of the members were verified.
    verified: usize,
}

impl Opening<'_, '_, '_> {
    /// Whether the tag of a member is right; those before it are verified with it.
    fn is_authentic(&mut self, member: usize) -> bool {
        while self.verified <= member {
            self.tags.advance(self.members, Ready::before(self.verified + 1));
            let (tag, member) = (self.tags.get(self.verified), self.members.get_mut(self.verified));
            let (Some(mut tag), Some(Some(packet))) = (tag, member) else { return false };
            packet.authentic = tag.ct_eq(&packet.tag).into();
            tag.zeroize();
            self.verified += 1;
        }
        matches!(self.members.get(member), Some(Some(packet)) if packet.authentic)
    }

    fn blocks(&self, member: usize) -> usize {
        self.members.get(member).and_then(Option::as_ref).map_or(0, |packet| packet.blocks())
    }

    fn decrypt(&mut self, position: Position, stream: &super::pass::Stream) {
        if let Some(Some(packet)) = self.members.get_mut(position.member) {
            packet.apply(position.block, stream);
        }
    }
}
