//! A lane whose counters are split; see `split` of the crate.
//!
//! ```text
//!   sockets --sort by key and block--> ready --place--> crypt --> home, by ring; this one at once
//!   rings of all others ----------------------------------------> merge --> commit
//! ```
//!
//! A split begins and ends while no lane takes a turn. Between its end for the sockets and its end here it goes on, until all that was
//! dealt out has come home: then each lane has found its sockets empty once, or has received as much as may have waited in them, and
//! nothing is under way. So it ends under any load. What is merged by then, of each lane's own datagrams only, is committed as it is.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use rand_core::TryCryptoRng;
use wg_proto::dh::Dh;
use wg_proto::{Instant, SessionIndex};
use wg_sched::SharedMerge;

use super::{IN_BATCHES, Lane, LaneIo};
use crate::batch::InBatch;
use crate::batch_aead::BatchAead;
use crate::drop::DropReason;
use crate::home::{HomeId, HomeOf};
use crate::io::{TunIo, UdpIo};
use crate::split::{WAY_BATCHES, Ways};

/// How often lanes tell and hear at the beginning of a split: each time some hundred peers.
const ROUNDS: usize = 1 << 16;

/// What a lane has for a split of counters.
#[derive(Debug)]
pub(super) struct Split<A> {
    ways: Ways<A>,
    /// What came for the peers at home here, while counters are split.
    merge: Option<SharedMerge<Box<InBatch<A>>>>,
    /// Batches of this lane that go to its own home and are not merged.
    own: usize,
    /// The lanes that may bring more.
    comes: Vec<bool>,
    /// Where the datagrams of an index are at home, but for those that moved.
    home_of: HomeOf,
    /// How many of the datagrams, or trains of them, that are yet to be received may be here by their counters; nothing while all may be.
    dealt: Option<usize>,
}

impl<A> Split<A> {
    pub(super) fn new(ways: Ways<A>) -> Self {
        let comes = vec![false; ways.lanes()];
        Self { ways, merge: None, own: 0, comes, home_of: HomeOf::default(), dealt: None }
    }

    pub(super) fn may_sleep(&self) -> bool {
        self.ways.may_sleep()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.merge.as_ref()?.deadline().map(Instant::from_nanos)
    }

    /// The most memory it takes.
    pub(super) fn max_memory(&self) -> usize {
        let lanes = self.ways.lanes();
        let boxes = (lanes - 1) * WAY_BATCHES * (size_of::<InBatch<A>>() + size_of::<Box<InBatch<A>>>());
        size_of::<Self>()
            + lanes
            + self.ways.memory_bytes()
            + SharedMerge::<Box<InBatch<A>>>::memory_bytes(lanes, WAY_BATCHES)
            + boxes
    }

    /// A batch for a home was begun.
    pub(super) fn takes(&self, home: HomeId) {
        self.ways.hands.take(home.index());
    }

    pub(super) fn give_back(&mut self, batch: Box<InBatch<A>>) {
        self.ways.give_back(batch);
    }

    /// Takes a place for a batch, if there is one.
    fn reserve(&mut self, batch: &InBatch<A>) -> bool {
        if batch.home != self.ways.home() {
            return self.ways.reserve(batch);
        }
        let free = self.own < WAY_BATCHES;
        self.own += usize::from(free);
        free
    }
}

impl<A> Lane<A> {
    /// Tells whether counters are split, or something of that is left.
    #[must_use]
    pub fn is_splitting(&self) -> bool {
        self.split.as_ref().is_some_and(|split| split.merge.is_some())
    }

    /// How many batches were merged since counters are split, and how many of those came home too late to be in order.
    #[must_use]
    pub fn merged(&self) -> (u64, u64) {
        let merge = self.split.as_ref().and_then(|split| split.merge.as_ref());
        merge.map_or((0, 0), SharedMerge::given)
    }

    /// Takes note that the sockets are no longer steered by counters, and that so many datagrams, or trains of them, may wait in them at
    /// most: the split goes on until nothing of it is left. See [`end_split`].
    pub fn counters_joined(&mut self, waiting: usize) {
        if let Some(split) = &mut self.split {
            split.dealt = Some(waiting);
        }
        self.edge.udp_drained = false;
    }

    /// Takes note of what was received, or that the sockets were empty.
    pub(super) fn took(&mut self, received: Option<usize>) {
        if let Some(dealt) = self.split.as_mut().and_then(|split| split.dealt.as_mut()) {
            *dealt = received.map_or(0, |received| dealt.saturating_sub(received));
        }
    }

    /// Tells whether all that is received from now on is here by its index, though counters are still merged.
    pub(super) fn has_joined(&self) -> bool {
        self.split.as_ref().is_some_and(|split| split.dealt == Some(0))
    }

    /// Tells whether more may wait in the sockets than was received, which only their end tells.
    pub(super) fn is_joining(&self) -> bool {
        self.split.as_ref().and_then(|split| split.dealt).is_some_and(|dealt| dealt > 0)
    }

    /// The home of a session that was not heard of, if that may not have told all of its keys.
    pub(super) fn unheard(&self, index: SessionIndex) -> Option<HomeId> {
        let split = self.split.as_ref()?;
        Some(split.home_of.find(index)?).filter(|home| split.ways.may_miss(*home))
    }

    pub(super) fn begin_receive(&self) {
        if let Some(split) = self.split.as_ref().filter(|split| split.merge.is_some()) {
            split.ways.hands.receive();
        }
    }

    pub(super) fn end_receive(&self) {
        if let Some(split) = &self.split {
            split.ways.hands.received();
        }
    }

    /// Takes the boxes that came back.
    fn take_boxes(&mut self) {
        while let Some(mut batch) = self.split.as_mut().and_then(|split| split.ways.next_box()) {
            batch.recycle(|slab| self.slabs.put(slab));
            self.spare_in.push(batch);
        }
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
    /// Takes the next batch that came here, for whatever home, and its place on the way there.
    pub(super) fn next_split(&mut self) -> Option<Box<InBatch<A>>> {
        if !self.lane.is_splitting() {
            return None;
        }
        self.lane.take_boxes();
        self.hear_keys();
        self.fill_ready();
        loop {
            let split = self.lane.split.as_mut()?;
            // What is for this home waits until the merge has gone on; what is for others does not wait behind it.
            let (own, waits) = (split.ways.home(), split.own >= WAY_BATCHES);
            let at = self.lane.ready_in.iter().position(|batch| !waits || batch.home != own)?;
            let mut batch = self.lane.ready_in.remove(at)?;
            if split.reserve(&batch) {
                return Some(batch);
            }
            split.ways.hands.give(batch.home.index());
            self.device.drops.count_many(DropReason::HomeBehind, batch.len() as u64);
            batch.recycle(|slab| self.lane.slabs.put(slab));
            self.lane.spare_in.push(batch);
        }
    }

    /// Brings an opened batch to its home. What is forged ends here.
    pub(super) fn bring_home(&mut self, mut batch: Box<InBatch<A>>) {
        let forged = batch.drop_forged();
        self.device.drops.count_many(DropReason::InvalidTag, forged as u64);
        batch.key = None;
        let Some(split) = &mut self.lane.split else { return };
        let (home, own) = (batch.home, split.ways.home());
        if batch.is_empty() {
            if home == own {
                split.own -= 1;
            } else {
                split.ways.release(&batch, home);
            }
            split.ways.hands.give(home.index());
            batch.recycle(|slab| self.lane.slabs.put(slab));
            self.lane.spare_in.push(batch);
        } else if home == own {
            split.ways.hands.give(home.index());
            self.hold(batch);
        } else {
            split.ways.bring(batch);
        }
    }

    /// Puts a batch to those that are to be merged.
    fn hold(&mut self, batch: Box<InBatch<A>>) {
        let Some(split) = &mut self.lane.split else { return };
        let (Some(merge), Some(peer), Some(span)) = (&mut split.merge, batch.peer, batch.span()) else {
            return;
        };
        let pushed = merge.push(batch.from.index(), peer.number(), span, batch);
        debug_assert!(pushed.is_ok(), "there is a place for all that have one on their way");
    }

    fn take_in_batches(&mut self) {
        while let Some(batch) = self.lane.split.as_mut().and_then(|split| split.ways.next_batch()) {
            self.hold(batch);
        }
    }

    /// Takes the next batch of this home that may be committed.
    pub(super) fn next_merged(&mut self) -> Option<Box<InBatch<A>>> {
        // What was begun here before the split is in the order of its tickets, and goes first.
        if !self.lane.is_splitting() || self.lane.tickets_in > 0 {
            return None;
        }
        self.take_in_batches();
        let batch = self.pop_merged();
        if let (Some(batch), Some(split)) = (&batch, &mut self.lane.split) {
            split.own -= usize::from(batch.from == split.ways.home());
        }
        batch
    }

    fn pop_merged(&mut self) -> Option<Box<InBatch<A>>> {
        let merge = self.lane.split.as_mut()?.merge.as_mut()?;
        if let Some(batch) = merge.pop() {
            return Some(batch);
        }
        if merge.is_empty() {
            return None;
        }
        // Along the way that things go: sockets, hands, rings.
        let mut comes = core::mem::take(&mut self.lane.split.as_mut()?.comes);
        for (lane, comes) in comes.iter_mut().enumerate() {
            let ways = &self.lane.split.as_ref()?.ways;
            let id = HomeId::from_index(lane);
            *comes = ways.is_receiver(id) && (self.udp.waits_at(lane) || ways.holds(id));
        }
        self.take_in_batches();
        let split = self.lane.split.as_mut()?;
        split.comes = comes;
        let merge = split.merge.as_mut()?;
        merge.pop().or_else(|| merge.pop_over_gap(self.now.instant.as_nanos(), &split.comes))
    }

    /// Commits all that is merged, in order, as nothing comes that is missing.
    fn commit_merged(&mut self) {
        let now = self.now.instant.as_nanos();
        while let Some(merge) = self.lane.split.as_mut().and_then(|split| split.merge.as_mut())
            && let Some(batch) = merge.pop().or_else(|| merge.pop_over_gap(now, &[]))
        {
            self.commit(batch);
        }
    }

    /// Tells others what peers of this home are received with now, as far as they have room to hear it. The rest is told later.
    pub(super) fn tell_keys(&mut self) {
        self.tell_while(|_| true);
        if let Some(split) = self.lane.split.as_mut().filter(|split| split.ways.has_missed()) {
            split.ways.tell_missed(|slot| self.device.keys_of(slot));
            split.ways.publish();
        }
    }

    fn tell_while(&mut self, may_tell: impl Fn(&Ways<A>) -> bool) {
        if !self.device.has_untold() {
            return;
        }
        let Some(split) = &mut self.lane.split else { return };
        while may_tell(&split.ways)
            && let Some(slot) = self.device.next_untold()
        {
            split.ways.tell(slot, || self.device.keys_of(slot));
        }
        split.ways.publish();
    }

    /// Hears what others tell.
    pub(super) fn hear_keys(&mut self) {
        if let Some(split) = self.lane.split.as_mut().filter(|split| split.merge.is_some()) {
            split.ways.look_behind();
        }
        while let Some(told) = self.lane.split.as_mut().and_then(|split| split.ways.next_keys()) {
            if self.lane.is_splitting() {
                self.device.foreign_keys.hear(told);
            }
        }
    }
}

/// Makes ready for datagrams that are steered by their counters, to any lane but the home of their peer. To be called with all lanes of an
/// interface in the order of their homes, each with its [`Ways`], between two turns of each; afterwards all of them are to be
/// woken. The steering may change before it or after it, but in the same pause. `receives` tells whether datagrams for a home are steered to
/// another lane; no other learns the home's keys, but where sessions moved there, whose datagrams are steered as those of the home
/// they are from. Where counters are split already, others may be named: they receive, too, until the split ends.
/// `home_of` is where the datagrams of a session index come while counters are not split.
pub fn begin_split<A, R, T, U, D>(
    lanes: &mut [LaneIo<'_, A, R, T, U, D>],
    receives: impl Fn(HomeId, HomeId) -> bool,
    home_of: impl Fn(SessionIndex) -> HomeId + Send + Sync + 'static,
) where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    let (count, home_of) = (lanes.len(), HomeOf::new(home_of));
    for io in lanes.iter_mut() {
        io.take_in_all();
        let Some(split) = &mut io.lane.split else { continue };
        split.dealt = None;
        if split.merge.is_some() {
            // Those who received until now may have something, and go on to hear what they open it with.
            let home = split.ways.home();
            if split.ways.add_receivers(|lane| receives(home, lane)) {
                io.device.begin_telling();
            }
            continue;
        }
        split.merge = Some(SharedMerge::new(count, WAY_BATCHES));
        let (home, all) = (split.ways.home(), io.device.has_stray());
        split.home_of = home_of.clone();
        split.ways.name_receivers(|lane| all || receives(home, lane));
        let boxes = (count - 1) * WAY_BATCHES;
        io.lane.spare_in.reserve_exact(boxes + IN_BATCHES - io.lane.spare_in.len());
        io.lane.spare_in.extend((0..boxes).map(|_| Box::default()));
        io.device.begin_telling();
        // What was begun here goes the way of this lane.
        let own = split.ways.home();
        for batch in &mut io.lane.ready_in {
            (batch.home, batch.from) = (own, own);
            let keypair = batch.peer.and_then(|peer| io.device.peers.get(peer));
            let keypair = keypair.and_then(|peer| peer.sessions.keypair(batch.index));
            batch.keypair = keypair.map_or(0, |keypair| keypair.derived().as_nanos());
            split.takes(own);
        }
    }
    for _ in 0..ROUNDS {
        lanes.iter_mut().for_each(|io| io.tell_while(Ways::may_tell));
        lanes.iter_mut().for_each(LaneIo::hear_keys);
        if !lanes.iter().any(|io| io.device.has_untold()) {
            break;
        }
    }
}

/// Ends a split whose sockets are steered as before, see [`Lane::counters_joined`], if nothing of it is left; tells whether it ended. To be
/// called as [`begin_split`].
#[must_use]
pub fn end_split<A, R, T, U, D>(lanes: &mut [LaneIo<'_, A, R, T, U, D>]) -> bool
where
    A: BatchAead,
    R: TryCryptoRng,
    T: TunIo,
    U: UdpIo,
    D: Dh,
{
    let has_come_home = |io: &mut LaneIo<'_, A, R, T, U, D>| {
        io.lane.take_boxes();
        io.hear_keys();
        let Some(split) = io.lane.split.as_ref() else { return true };
        let own = split.ways.home();
        split.merge.is_none()
            || split.dealt == Some(0)
                && split.ways.is_idle()
                && io.lane.tickets_in == 0
                && io.lane.ready_in.iter().all(|batch| batch.home == own)
    };
    // All of them are looked at, as each takes back what it lent.
    if !lanes.iter_mut().map(has_come_home).fold(true, |all, home| all & home) {
        return false;
    }
    for io in lanes {
        io.commit_merged();
        let Some(split) = &mut io.lane.split else { continue };
        (split.merge, split.dealt, split.own) = (None, None, 0);
        split.ways.forget_missed();
        for _ in &io.lane.ready_in {
            split.ways.hands.give(split.ways.home().index());
        }
        io.lane.spare_in.truncate(IN_BATCHES.saturating_sub(io.lane.ready_in.len()));
        io.device.end_telling();
    }
    true
}
