//! A peer changes its home while nobody takes a turn: what of it is under way in its lane goes first, what waits there moves.
//!
//! ```text
//!   lane 0                                                  lane 1
//!   at other cores, in order, opened, sealed --> finished
//!   queue: frames of the peer --------------- copied -----> queue
//!   device: sessions, timers, staged packets --------------> device
//!   sockets: datagrams of the session ------- ring --------> batches --> TUN
//! ```
//!
//! No packet is lost on the way and none overtakes another: whatever was begun at the old home has left it before the new one
//! begins anything, and what waits keeps its order. Where that cannot be had now, nothing is changed.

use alloc::vec::Vec;
use core::fmt;

use rand_core::TryCryptoRng;
use wg_proto::dh::Dh;
use wg_sched::settle;

use super::{LaneIo, QUEUED_FRAMES, QUEUED_LARGE};
use crate::batch::Batch;
use crate::batch_aead::BatchAead;
use crate::drop::DropReason;
use crate::frame::OutFrame;
use crate::home::HomeId;
use crate::io::{TunIo, UdpIo};
use crate::peer_table::PeerId;
use crate::slab::SlabClass;

/// How often the lanes are looked at until nothing is under way: what other cores have in hand takes them some ten
/// microseconds.
const LOOKS: usize = 4096;

/// Why a peer stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RehomeError {
    /// There is no such peer.
    NoSuchPeer,
    /// There is no such lane.
    NoSuchHome,
    /// Something of it is under way: a batch at another core or before a full socket, or a handshake. Later it may not be.
    UnderWay,
    /// There is no room for what waits for it.
    NoRoom,
}

impl fmt::Display for RehomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchPeer => "there is no such peer",
            Self::NoSuchHome => "there is no such lane",
            Self::UnderWay => "something of the peer is under way",
            Self::NoRoom => "there is no room for what waits for the peer",
        })
    }
}

impl core::error::Error for RehomeError {}

/// Gives a peer another home. To be called with all lanes of an interface in the order of their homes, between two turns of each;
/// afterwards all of them are to be woken, as there may be something to do.
///
/// Until its next handshake the datagrams of the peer come to the lane that it left, which forwards them.
///
/// # Errors
///
/// [`RehomeError`]; the peer then is where it was.
pub fn rehome<A, R, T, U, D>(
    lanes: &mut [LaneIo<'_, A, R, T, U, D>],
    peer: PeerId,
    to: HomeId,
) -> Result<(), RehomeError>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    let found = lanes.first().and_then(|lane| lane.device.peers.find(peer.slot()));
    let (_, from) = found.filter(|(found, _)| *found == peer).ok_or(RehomeError::NoSuchPeer)?;
    if to.index() >= lanes.len() || from.index() >= lanes.len() {
        return Err(RehomeError::NoSuchHome);
    }
    if to == from {
        return Ok(());
    }
    if lanes.iter().any(|lane| lane.lane.is_splitting()) {
        return Err(RehomeError::UnderWay);
    }
    lanes.iter_mut().for_each(LaneIo::give_to_others);
    lanes[from.index()].take_in_all();
    quiesce(lanes, from)?;
    lanes[from.index()].conclude(peer)?;
    let (frames, large) = lanes[from.index()].waiting(peer);
    if !lanes[to.index()].has_room_for(frames, large) {
        return Err(RehomeError::NoRoom);
    }

    forget_stale(lanes);
    let Ok([source, target]) = lanes.get_disjoint_mut([from.index(), to.index()]) else {
        return Err(RehomeError::NoSuchHome);
    };
    let moved = source.device.send_away(peer, to).ok_or(RehomeError::NoSuchPeer)?;
    target.device.take_in(moved);
    target.device.take_staged(source.device, peer.slot(), target.now);
    for frame in source.take_frames(peer) {
        target.take_over(&frame);
        source.lane.slabs.put(frame.into_slab());
    }
    for lane in lanes.iter_mut() {
        if ![from, to].contains(&lane.device.peers.home().0) {
            lane.device.send_away(peer, to);
        }
        lane.give_to_others();
    }
    Ok(())
}

/// Has the work done that other cores have of a lane.
fn quiesce<A, R, T, U, D>(lanes: &mut [LaneIo<'_, A, R, T, U, D>], home: HomeId) -> Result<(), RehomeError>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    for _ in 0..LOOKS {
        lanes.iter_mut().for_each(|lane| {
            settle(lane);
        });
        if lanes[home.index()].lane.pending() == 0 {
            return Ok(());
        }
        core::hint::spin_loop();
    }
    Err(RehomeError::UnderWay)
}

/// Has no lane forward to sessions that are gone.
fn forget_stale<A, R, T, U, D>(lanes: &mut [LaneIo<'_, A, R, T, U, D>])
where
    A: BatchAead,
    R: TryCryptoRng,
    D: Dh,
{
    for at in 0..lanes.len() {
        let forwarded = lanes[at].device.forwarded();
        let live: Vec<_> = forwarded
            .into_iter()
            .filter(|(index, slot, home)| lanes[home.index()].device.has_session(*index, *slot))
            .map(|(index, ..)| index)
            .collect();
        lanes[at].device.keep_forwarded(|index, _| live.contains(&index));
    }
}

impl<A, R, T, U, D> LaneIo<'_, A, R, T, U, D>
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    /// Takes in what others have for this lane, all of it.
    pub(super) fn take_in_all(&mut self) {
        self.take_from_others();
        if let Some(mut exchange) = self.lane.exchange.take() {
            exchange.take_frames(|frame| {
                self.admit_frame(frame);
                true
            });
            self.lane.exchange = Some(exchange);
        }
        self.take_trains();
    }

    /// Brings what of a peer is under way here to its end.
    fn conclude(&mut self, peer: PeerId) -> Result<(), RehomeError> {
        loop {
            for _ in 0..self.lane.ready_in.len() {
                match self.lane.ready_in.pop_front() {
                    Some(batch) if batch.peer == Some(peer) => {
                        let mut batch = Batch::In(batch);
                        Batch::crypt(core::slice::from_mut(&mut batch));
                        self.finish(batch);
                    }
                    Some(other) => self.lane.ready_in.push_back(other),
                    None => break,
                }
            }
            if !self.take_trains() {
                break;
            }
        }
        self.resume();
        let Self { lane, device, .. } = self;
        let rests = !device.is_bound(peer)
            && lane.exchange.as_ref().is_none_or(|exchange| !exchange.has_trains())
            && lane.blocked.iter().all(|batch| batch.peer != Some(peer))
            && lane.held.iter().all(|datagram| datagram.peer != Some(peer));
        if rests { Ok(()) } else { Err(RehomeError::UnderWay) }
    }

    /// How many frames wait for a peer, and how many of them may be in large slabs.
    fn waiting(&self, peer: PeerId) -> (usize, usize) {
        let frames = self.lane.queue.len_of(peer.slot());
        (frames, frames.min(self.lane.queued_large))
    }

    fn has_room_for(&self, frames: usize, large: usize) -> bool {
        self.lane.queue.len() + frames <= QUEUED_FRAMES && self.lane.queued_large + large <= QUEUED_LARGE
    }

    /// Takes the frames of a peer out of the queue, those of a flow in their order.
    fn take_frames(&mut self, peer: PeerId) -> Vec<OutFrame> {
        let mut frames = Vec::new();
        self.lane.queue.drop_peer(peer.slot(), |frame| frames.push(frame));
        self.lane.queued_large -= frames.iter().filter(|frame| frame.is_large()).count();
        frames
    }

    /// Puts a copy of a frame of another lane into the queue.
    fn take_over(&mut self, frame: &OutFrame) {
        let class = SlabClass::for_len(frame.bytes().len()).unwrap_or(SlabClass::Large);
        let copy = self.lane.slabs.take(class).and_then(|mut slab| {
            let copy = frame.rest_into(&mut slab);
            if copy.is_none() {
                self.lane.slabs.put(slab);
            }
            copy
        });
        match copy {
            Some(copy) => self.push(copy),
            None => self.device.drops.count_many(DropReason::NoBuffer, frame.remaining() as u64),
        }
    }
}
