//! What lanes hand to each other: frames that one read for a peer of another, initiations, and slabs on their way home.
//!
//! ```text
//!   lane 0                                                             lane 1
//!   TUN --> frame for a peer of lane 1 --frames----------------------> queue --> batch --> UDP
//!   pool <------------------------------------notes-- slab <---------- sealed and sent
//!   initiation of a peer of lane 1 -----------notes------------------> control work --> UDP
//!   UDP --> datagrams of a peer that was here -trains-----------------> batch --> TUN
//! ```
//!
//! Between each two lanes and in each direction are three rings of one producer and one consumer: frames, which their home
//! takes in while its queue has room, trains of datagrams, while it has batches for them, and notes, which it takes in always. None
//! is ever full. A frame is lent only while
//! few are under way to that home, in number and in bytes, and counts until its slab is back; there are as many boxes for
//! initiations as there is room for. So a lane that does not keep up costs others the frames that are for it, and nothing
//! else: nobody waits for anybody.
//!
//! # Sleep
//!
//! Whoever gives something to a lane that sleeps rings its bell, as [`Doorbell`] says: no call is lost, and few are made.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use rtrb::{Consumer, Producer, RingBuffer};
use wg_sched::handoff::Doorbell;

use crate::device::{HANDOVERS, Handover};
use crate::frame::OutFrame;
use crate::home::HomeId;
use crate::io::RecvSlot;
use crate::slab::{Slab, SlabClass};

/// Frames that may be under way from one lane to another, and those whose slabs are not back yet.
const LENT_FRAMES: usize = 512;
/// Bytes of their slabs, to all other lanes together; but for each there are those of a few frames.
const LENT_BYTES: usize = 4 << 20;
const LEAST_LENT_BYTES: usize = 1 << 20;

/// Notes that must have room: each may send the other its slabs back, its initiations and their boxes.
const NOTES: usize = LENT_FRAMES + 2 * HANDOVERS;
/// Notes of narrow paths that may be under way besides.
const PATHS: usize = 16;

/// What a ring takes besides its items: head and tail in cache lines of their own, and their count.
const RING: usize = 512;

/// What goes between lanes besides frames.
#[derive(Debug)]
pub(crate) enum Note {
    /// A slab on its way home.
    Slab(Slab),
    /// An initiation for a peer whose home is there, or the box of one that is done with.
    Handover(Box<Handover>),
    /// A path that does not pass IP packets of more than so many bytes.
    NarrowPath(SocketAddr, u16),
}

/// What a lane would take in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) frames: bool,
    pub(crate) trains: bool,
}

/// What a lane has to do with one other.
struct Neighbour {
    home: HomeId,
    bell: Arc<Doorbell>,
    frames_out: Producer<OutFrame>,
    frames_in: Consumer<OutFrame>,
    trains_out: Producer<RecvSlot>,
    trains_in: Consumer<RecvSlot>,
    notes_out: Producer<Note>,
    notes_in: Consumer<Note>,
    /// Frames that are published together.
    pending: Vec<OutFrame>,
    /// Something was published that the other has not been told of.
    untold: bool,
    /// Slabs that are with the other, and their bytes.
    lent: usize,
    lent_bytes: usize,
}

/// The part of one lane in the exchange with the others.
pub struct Exchange {
    home: HomeId,
    bell: Arc<Doorbell>,
    neighbours: Vec<Neighbour>,
    max_lent_bytes: usize,
}

impl Exchange {
    /// Makes the parts of as many lanes as there are bells, in the order of their homes. The bell of a lane may be that of a
    /// member of a [`Crew`](wg_sched::Crew), too.
    ///
    /// # Panics
    ///
    /// If there are more than [`HomeId::MOST`].
    #[must_use]
    pub fn between(bells: Vec<Arc<Doorbell>>) -> Vec<Self> {
        assert!(bells.len() <= HomeId::MOST, "no more homes than there are numbers");
        let others = bells.len().saturating_sub(1).max(1);
        let max_lent_bytes = (LENT_BYTES / others).max(LEAST_LENT_BYTES);
        let mut parts: Vec<Self> = (0..)
            .zip(bells)
            .map(|(home, bell)| Self {
                home: HomeId::from_index(home),
                bell,
                neighbours: Vec::with_capacity(others),
                max_lent_bytes,
            })
            .collect();
        for one in 0..parts.len() {
            for other in one + 1..parts.len() {
                connect(&mut parts, one, other);
            }
        }
        parts
    }

    /// Which lane's part it is.
    #[must_use]
    pub const fn home(&self) -> HomeId {
        self.home
    }

    /// The memory it takes: that of its rings to others, and of what is put into them together.
    pub(crate) fn memory_bytes(&self) -> usize {
        let rings = LENT_FRAMES * (2 * size_of::<OutFrame>() + size_of::<RecvSlot>())
            + (NOTES + PATHS) * size_of::<Note>()
            + 3 * RING;
        size_of::<Self>()
            + self.neighbours.capacity() * size_of::<Neighbour>()
            + self.neighbours.len() * rings
    }

    /// The most slabs of each class that may be with other lanes at once.
    pub(crate) const fn max_lent(&self) -> (usize, usize) {
        let (others, bytes) = (self.neighbours.len(), self.max_lent_bytes);
        (others * LENT_FRAMES, others * bytes.div_ceil(SlabClass::Large.bytes()))
    }

    /// The most slabs of other lanes that may be here at once.
    pub(crate) const fn max_borrowed(&self) -> usize {
        self.neighbours.len() * LENT_FRAMES
    }

    /// How many slabs are with other lanes.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn lent(&self) -> usize {
        self.neighbours.iter().map(|neighbour| neighbour.lent).sum()
    }

    /// Gives a frame to the home of its peer; it leaves with the next [`Self::publish`]. Comes back if too much is on its way
    /// there.
    pub(crate) fn lend(&mut self, home: HomeId, frame: OutFrame) -> Result<(), OutFrame> {
        let max_bytes = self.max_lent_bytes;
        let Some(neighbour) = self.neighbour(home) else { return Err(frame) };
        let bytes = neighbour.lent_bytes + frame.held();
        if neighbour.lent >= LENT_FRAMES || bytes > max_bytes {
            return Err(frame);
        }
        neighbour.lent += 1;
        neighbour.lent_bytes = bytes;
        neighbour.pending.push(frame);
        Ok(())
    }

    /// Gives datagrams to the home of their peer. They come back if too much is on its way there.
    pub(crate) fn lend_train(&mut self, home: HomeId, train: RecvSlot) -> Result<(), RecvSlot> {
        let max_bytes = self.max_lent_bytes;
        let Some(neighbour) = self.neighbour(home) else { return Err(train) };
        let bytes = neighbour.lent_bytes + train.slab.len();
        if neighbour.lent >= LENT_FRAMES || bytes > max_bytes {
            return Err(train);
        }
        neighbour.trains_out.push(train).map_err(|rtrb::PushError::Full(train)| train)?;
        neighbour.lent += 1;
        neighbour.lent_bytes = bytes;
        neighbour.untold = true;
        Ok(())
    }

    /// Takes the next datagrams of any lane.
    pub(crate) fn next_train(&mut self) -> Option<RecvSlot> {
        self.neighbours.iter_mut().find_map(|neighbour| neighbour.trains_in.pop().ok())
    }

    /// Tells whether there are datagrams of another lane.
    pub(crate) fn has_trains(&self) -> bool {
        self.neighbours.iter().any(|neighbour| !neighbour.trains_in.is_empty())
    }

    /// Sends a slab to the pool it belongs to.
    pub(crate) fn send_home(&mut self, slab: Slab) {
        let home = slab.home();
        self.note(home, Note::Slab(slab));
    }

    /// Sends an initiation to where it goes.
    pub(crate) fn hand_over(&mut self, handover: Box<Handover>) {
        self.note(handover.destination(), Note::Handover(handover));
    }

    /// Tells all others of a path, unless they have not yet heard of too many others.
    pub(crate) fn tell_of_path(&mut self, to: SocketAddr, mtu: u16) {
        for neighbour in &mut self.neighbours {
            if neighbour.notes_out.slots() > NOTES {
                let _ = neighbour.notes_out.push(Note::NarrowPath(to, mtu));
                neighbour.untold = true;
            }
        }
    }

    fn note(&mut self, home: HomeId, note: Note) {
        let Some(neighbour) = self.neighbour(home) else {
            debug_assert!(false, "it came from a lane that there is");
            return;
        };
        let pushed = neighbour.notes_out.push(note);
        debug_assert!(pushed.is_ok(), "there is room for all there are");
        neighbour.untold = true;
    }

    /// Makes known what was given since the last time.
    pub(crate) fn publish(&mut self) {
        for neighbour in &mut self.neighbours {
            if !neighbour.pending.is_empty() {
                let chunk = neighbour.frames_out.write_chunk_uninit(neighbour.pending.len());
                debug_assert!(chunk.is_ok(), "no more is lent than there is room for");
                if let Ok(chunk) = chunk {
                    chunk.fill_from_iter(neighbour.pending.drain(..));
                }
                neighbour.untold = true;
            }
            if core::mem::take(&mut neighbour.untold) {
                neighbour.bell.ring_if_asleep();
            }
        }
    }

    /// Takes the next note of any lane. A slab of the own pool is then no longer lent.
    pub(crate) fn next_note(&mut self) -> Option<Note> {
        for neighbour in &mut self.neighbours {
            let Ok(note) = neighbour.notes_in.pop() else { continue };
            if let Note::Slab(slab) = &note {
                neighbour.lent -= 1;
                neighbour.lent_bytes -= slab.len();
            }
            return Some(note);
        }
        None
    }

    /// Takes frames that others have for this lane, from each about as many, as long as `take` has room.
    pub(crate) fn take_frames(&mut self, mut take: impl FnMut(OutFrame) -> bool) -> bool {
        let mut any = false;
        // From another one first each time, so that what little room there is goes round.
        if !self.neighbours.is_empty() {
            self.neighbours.rotate_left(1);
        }
        for neighbour in &mut self.neighbours {
            while let Ok(frame) = neighbour.frames_in.pop() {
                any = true;
                if !take(frame) {
                    return any;
                }
            }
        }
        any
    }

    /// Says that the lane is about to sleep, and tells whether it may: not while there is something that it has room for.
    pub(crate) fn may_sleep(&self, room: Room) -> bool {
        let waits = |neighbour: &Neighbour| {
            !neighbour.notes_in.is_empty()
                || (room.frames && !neighbour.frames_in.is_empty())
                || (room.trains && !neighbour.trains_in.is_empty())
        };
        self.bell.may_sleep(|| !self.neighbours.iter().any(waits))
    }

    /// Says that the lane is awake.
    pub(crate) fn awake(&self) {
        self.bell.awake();
    }

    fn neighbour(&mut self, home: HomeId) -> Option<&mut Neighbour> {
        self.neighbours.iter_mut().find(|neighbour| neighbour.home == home)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lent = self.neighbours.iter().map(|neighbour| (neighbour.home, neighbour.lent));
        f.debug_struct("Exchange").field("home", &self.home).field("lent", &lent.collect::<Vec<_>>()).finish()
    }
}

/// Two rings, one for each direction.
fn pair<T>(capacity: usize) -> [(Producer<T>, Consumer<T>); 2] {
    [(); 2].map(|()| RingBuffer::new(capacity))
}

/// Lays the rings between two lanes.
fn connect(parts: &mut [Exchange], one: usize, other: usize) {
    let notes = NOTES + PATHS;
    let [(frames_there, frames_from_one), (frames_here, frames_from_other)] = pair(LENT_FRAMES);
    let [(trains_there, trains_from_one), (trains_here, trains_from_other)] = pair(LENT_FRAMES);
    let [(notes_there, notes_from_one), (notes_here, notes_from_other)] = pair(notes);
    let there = (frames_there, trains_there, notes_there);
    let from_other = (frames_from_other, trains_from_other, notes_from_other);
    let here = (frames_here, trains_here, notes_here);
    let from_one = (frames_from_one, trains_from_one, notes_from_one);
    for (here, there, outs, ins) in [(one, other, there, from_other), (other, one, here, from_one)] {
        let (frames_out, trains_out, notes_out) = outs;
        let (frames_in, trains_in, notes_in) = ins;
        let bell = Arc::clone(&parts[there].bell);
        parts[here].neighbours.push(Neighbour {
            home: HomeId::from_index(there),
            bell,
            frames_out,
            frames_in,
            trains_out,
            trains_in,
            notes_out,
            notes_in,
            pending: Vec::with_capacity(LENT_FRAMES),
            untold: false,
            lent: 0,
            lent_bytes: 0,
        });
    }
}

#[cfg(test)]
mod tests;
