//! What the control messages of a datagram say, as the socket would read and write them.

use core::ffi::c_int;
use core::net::SocketAddr;

use wg_proto::Source;

use super::cmsg::{self, ControlBuffer};
use super::pktinfo;

/// A control message, and the local side of the datagram if it tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlMessage<'a> {
    /// The protocol it belongs to.
    pub level: c_int,
    /// Its type.
    pub kind: c_int,
    /// What follows its header.
    pub data: &'a [u8],
    /// The local address and interface.
    pub source: Option<Source>,
}

/// Reads the messages in a buffer, up to the first malformed one.
#[must_use]
pub fn control_messages(bytes: &[u8]) -> Vec<ControlMessage<'_>> {
    cmsg::iter(bytes)
        .map(|message| ControlMessage {
            level: message.level,
            kind: message.kind,
            data: message.data,
            source: pktinfo::decode(&message),
        })
        .collect()
}

/// Writes the messages that pin a source; none if it cannot be that of a datagram to `remote`.
#[must_use]
pub fn pin_source(source: &Source, remote: &SocketAddr) -> Option<Vec<u8>> {
    let mut control = ControlBuffer::new();
    pktinfo::encode(&mut control, source, remote).then(|| control.as_bytes().to_vec())
}
