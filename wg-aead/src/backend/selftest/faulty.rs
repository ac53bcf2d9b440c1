//! A kernel with a fault, to see that the fault is found.

use crate::checksum::Sum;
use crate::packet::Group;
use crate::portable;

/// What the kernel gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend) enum Fault {
    /// Nothing.
    None,
    /// A bit of the last packet, behind the back of its tag.
    Ciphertext,
    /// The nonce of the last packet.
    Nonce,
    /// Which tag belongs to which of two packets.
    Lanes,
    /// Takes every tag.
    Forgery,
    /// Takes no tag of the last packet.
    Refusal,
    /// Decrypts what is forged, too.
    Plaintext,
    /// The sum of the last packet.
    Sum,
}

impl Fault {
    pub(super) const ALL: [Self; 8] = [
        Self::None,
        Self::Ciphertext,
        Self::Nonce,
        Self::Lanes,
        Self::Forgery,
        Self::Refusal,
        Self::Plaintext,
        Self::Sum,
    ];

    pub(in crate::backend) fn seal(self, group: &mut Group<'_, '_>) {
        if let (Self::Nonce, [.., Some(last)]) = (self, group.members()) {
            last.counter ^= 1 << 40;
        }
        portable::seal(group);
        match (self, group.members()) {
            (Self::Ciphertext, [.., Some(last)]) if !last.text.is_empty() => last.text[0] ^= 4,
            (Self::Lanes, [Some(first), Some(second), ..]) => {
                core::mem::swap(&mut first.tag, &mut second.tag)
            }
            _ => {}
        }
    }

    pub(in crate::backend) fn open(self, group: &mut Group<'_, '_>) {
        portable::open(group);
        match (self, group.members()) {
            (Self::Forgery, members) => {
                members.iter_mut().flatten().for_each(|packet| packet.authentic = true);
            }
            (Self::Refusal, [.., Some(last)]) => last.authentic = false,
            (Self::Plaintext, members) => {
                for packet in members.iter_mut().flatten().filter(|packet| !packet.authentic) {
                    let mut alone = Group::new();
                    alone.push(packet);
                    portable::seal(&mut alone);
                }
            }
            (Self::Sum, [.., Some(last)]) => last.sum = last.sum + Sum::of_word(1),
            _ => {}
        }
    }
}
