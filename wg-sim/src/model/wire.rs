//! Datagrams under way between two hosts.

use std::sync::Arc;

use wg_proto::Mac1Key;
use wg_proto::wire::Message;

use crate::model::side::Side;

/// What a datagram is. Indices are the numbers of the messages that they were drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Initiation { sender: u32 },
    Response { sender: u32, receiver: u32 },
    Data { receiver: u32, counter: u64, packet: Option<u32> },
    CookieReply,
}

impl Kind {
    /// Reads what a host sends; `packet` is what it sealed, if it did.
    pub(super) fn of(datagram: &[u8], packet: Option<u32>) -> Option<Self> {
        Some(match Message::parse(datagram).ok()? {
            Message::Initiation(message) => Self::Initiation { sender: message.sender_index().get() },
            Message::Response(message) => Self::Response {
                sender: message.sender_index().get(),
                receiver: message.receiver_index().get(),
            },
            Message::CookieReply(_) => Self::CookieReply,
            Message::TransportData(message) => {
                Self::Data { receiver: message.receiver_index().get(), counter: message.counter(), packet }
            }
        })
    }
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub(super) struct Flying {
    pub(super) from: Side,
    pub(super) kind: Kind,
    pub(super) copies: u8,
    pub(super) bytes: Arc<[u8]>,
}

impl Flying {
    /// The number of the packet in it, or one that no packet has.
    pub(super) fn packet(&self) -> u32 {
        match self.kind {
            Kind::Data { packet: Some(packet), .. } => packet,
            _ => u32::MAX,
        }
    }

    /// The datagram changed by someone who knows the public keys of both, and no secret.
    pub(super) fn forged(&self, receiver: &Mac1Key) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        match self.kind {
            Kind::Initiation { .. } | Kind::Response { .. } => {
                // The last byte of what is encrypted; then MAC1, which anyone can make.
                let at = bytes.len() - 33;
                bytes[at] ^= 0x10;
                receiver.write(&mut bytes);
            }
            Kind::Data { .. } | Kind::CookieReply => {
                let at = bytes.len() - 1;
                bytes[at] ^= 0x10;
            }
        }
        bytes
    }

    /// The same content under another, later counter; nothing if it has none.
    pub(super) fn renumbered(&self) -> Option<Vec<u8>> {
        matches!(self.kind, Kind::Data { .. }).then(|| {
            let mut bytes = self.bytes.to_vec();
            bytes[9] ^= 0x40;
            bytes
        })
    }
}
