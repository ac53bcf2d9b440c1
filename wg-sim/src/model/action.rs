//! What can happen next.

use crate::model::side::Side;

/// One step of a model.
///
/// Datagrams are named by their place among those under way, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A host has a packet to send.
    Send(Side),
    /// A datagram under way arrives.
    Deliver(u8),
    /// One is lost.
    Drop(u8),
    /// One is under way twice.
    Duplicate(u8),
    /// Time passes to the next deadline, or to the next age at which a key changes what it may be used for.
    Advance,
    /// Time passes to the next such age of a key, and deadlines on the way are polled late.
    Sleep,
    /// A host starts anew, with nothing but its configuration.
    Restart(Side),
    /// A host goes on from where the snapshot of it was taken, as a virtual machine does.
    Restore(Side),
}
