//! Control datagrams out: at once, or before anything else as soon as a socket that pushes back takes them.
//!
//! A socket that its sender keeps full is full at every handshake, too: what is due then would never leave, and the
//! session would run out for want of a new one. So what belongs to a peer waits, at most [`HELD`] of it.

use rand_core::TryCryptoRng;
use wg_proto::dh::Dh;

use super::LaneIo;
use crate::batch_aead::BatchAead;
use crate::device::ControlDatagram;
use crate::drop::DropReason;
use crate::io::{Segment, SendReport, SendStatus, Transmit, TunIo, UdpIo};

/// Control datagrams that may wait for the socket.
pub(super) const HELD: usize = 64;

impl<A, R, T, U, D> LaneIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Sends a control datagram, or keeps it for [`Self::resume_control`]. It takes the place of one of its kind that
    /// still waits: the other side would answer the older initiation, and refuse the newer behind it.
    pub(super) fn send_control(&mut self, datagram: ControlDatagram) {
        let before = self.lane.held.len();
        self.lane.held.retain(|held| !datagram.replaces(held));
        let replaced = before - self.lane.held.len();
        self.device.drops.count_many(DropReason::SendQueueFull, replaced as u64);
        if self.push_control(&datagram) {
            return;
        }
        // A cookie reply is worth nothing later, and a flood must not fill the queue with them.
        if datagram.peer.is_some() && self.lane.held.len() < HELD {
            self.lane.held.push_back(datagram);
        } else {
            self.device.drops.count(DropReason::SendQueueFull);
        }
    }

    /// Goes on with the control datagrams that the socket did not take, and tells whether all of them are gone now.
    pub(super) fn resume_control(&mut self) -> bool {
        while let Some(datagram) = self.lane.held.pop_front() {
            if !self.device.is_up() {
                self.device.drops.count(DropReason::DeviceDown);
            } else if datagram.peer.is_none_or(|id| self.device.peers.get(id).is_none()) {
                self.device.drops.count(DropReason::StagedRemoved);
            } else if datagram.key_changes != self.device.key_changes {
                // Made under a key that is no longer ours: the peer would begin a session that this side forgot (C133).
                self.device.drops.count(DropReason::SendQueueFull);
            } else if !self.push_control(&datagram) {
                self.lane.held.push_front(datagram);
                return false;
            }
        }
        true
    }

    /// Hands a control datagram to the socket, and tells whether it is done with.
    fn push_control(&mut self, datagram: &ControlDatagram) -> bool {
        let segments = [Segment { offset: 0, len: u32::try_from(datagram.bytes.len()).unwrap_or_default() }];
        let transmit = Transmit {
            endpoint: &datagram.endpoint,
            tos: datagram.tos,
            buffer: &datagram.bytes,
            segments: &segments,
        };
        let report = self.udp.send(&transmit);
        if self.udp.take_stale_source()
            && let Some(peer) = datagram.peer.and_then(|id| self.device.peers.get_mut(id))
        {
            peer.sessions.forget_source();
        }
        match report {
            SendReport { sent: 1, .. } => self.device.control_sent(datagram),
            SendReport { status: SendStatus::WouldBlock, .. } => return false,
            SendReport { .. } => self.device.drops.count(DropReason::SendRefused),
        }
        true
    }
}
