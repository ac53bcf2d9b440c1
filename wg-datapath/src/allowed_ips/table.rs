//! The compiled longest-prefix table: a path-compressed tree of 64-way nodes, with a direct table on top.
//!
//! ```text
//! key      0010 10 | 00 0000 | 0000 00 | ...        six bits a step
//!          \__ direct: slot -> (owner so far, node) __/
//! node     depth, key up to it
//!          internal  63 bits: which prefixes of length depth..depth+5 exist   -> owners[popcount]
//!          external  64 bits: which values of the next six bits have a kid    -> kids[popcount]
//! ```
//!
//! A lookup descends by population counts, remembers the last node with a matching prefix and never looks
//! back. A kid may skip steps: it carries the key that leads to it, and a key that differs ends the walk.
//!
//! The direct table answers the first steps at once. It costs memory, so it exists only while there are
//! many prefixes. It is derived: each slot says what a walk from the root would have found.
//!
//! Every change touches one node and its ancestors, however many prefixes there are (and, for a prefix
//! shorter than the direct table is deep, the slots it covers). Nothing recurses.

use alloc::boxed::Box;

use super::blocks::{Blocks, MAX_VALUES};
use super::key::{Key, STRIDE};
use super::{PeerSlot, TooManyPrefixes};

/// The most prefixes of a table: two nodes come with each at most, its own and the fork that leads to it.
pub(super) const MAX_PREFIXES: usize = MAX_VALUES / 2;

/// No node, or in a [`Slot`] no owner.
const NONE: u32 = u32::MAX;

/// For the first five of the six bits: the internal positions of all prefixes that match them.
///
/// The prefix of relative length `r` that ends in the bits `b` has position `1 << r | b`, so the highest
/// set position is the longest match.
const MATCHING: [u64; 32] = {
    let mut masks = [0; 32];
    let mut bits = 0;
    while bits < masks.len() {
        let mut relative = 0;
        while relative < STRIDE as usize {
            masks[bits] |= 1 << (1 << relative | bits >> (STRIDE as usize - 1 - relative));
            relative += 1;
        }
        bits += 1;
    }
    masks
};

#[derive(Clone, Copy, Default)]
struct Node<K> {
    /// The bits that lead here, `depth` of them.
    key: K,
    /// Bit `position`: this prefix has an owner.
    internal: u64,
    /// Bit `chunk`: there is a kid.
    external: u64,
    /// Start of the owners, ordered by position; a single owner itself.
    owners: u32,
    /// Start of the kids, ordered by chunk.
    kids: u32,
    depth: u8,
}

impl<K: Key> Node<K> {
    fn new(key: K, depth: u8) -> Self {
        Self { key: key.masked(depth), depth, ..Self::default() }
    }

    #[inline]
    fn leads_to(&self, key: K) -> bool {
        self.key.common(key) >= self.depth
    }

    #[inline]
    fn kid(&self, chunk: u32) -> Option<u32> {
        (self.external >> chunk & 1 == 1).then(|| self.kids + rank(self.external, chunk))
    }

    /// The positions of the prefixes here that match `key`.
    #[inline]
    fn matching(&self, key: K) -> u64 {
        self.internal & MATCHING[(key.chunk(self.depth) >> 1) as usize & 31]
    }

    fn has(&self, position: u32) -> bool {
        self.internal >> position & 1 == 1
    }

    fn is_redundant(&self) -> bool {
        self.internal == 0 && self.external.count_ones() <= 1
    }
}

/// What a walk found above [`Key::DIRECT`], and where it goes on.
#[derive(Clone, Copy)]
struct Slot {
    owner: u32,
    node: u32,
}

#[derive(Clone)]
pub(super) struct Table<K> {
    nodes: Blocks<Node<K>>,
    owners: Blocks<u32>,
    root: u32,
    len: usize,
    direct: Option<Box<[Slot]>>,
}

impl<K: Key> Default for Table<K> {
    fn default() -> Self {
        Self { nodes: Blocks::default(), owners: Blocks::default(), root: NONE, len: 0, direct: None }
    }
}

impl<K: Key> Table<K> {
    /// The owner of the longest prefix that holds `key`.
    #[inline]
    pub(super) fn lookup(&self, key: K) -> Option<PeerSlot> {
        let (short, mut next) = match &self.direct {
            Some(slots) => slots.get(key.slot()).map(|slot| (slot.owner, slot.node))?,
            None => (NONE, self.root),
        };
        let mut found = None;
        while let Some(node) = self.nodes.get(next)
            && node.leads_to(key)
        {
            if node.matching(key) != 0 {
                found = Some(node);
            }
            let Some(kid) = node.kid(key.chunk(node.depth)) else { break };
            next = kid;
        }
        let owner = match found {
            Some(node) => self.owner(node, node.matching(key).checked_ilog2()?)?,
            None => short,
        };
        (owner != NONE).then_some(PeerSlot(owner))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a rebuild would give back most of the memory.
    pub(super) fn is_sparse(&self) -> bool {
        self.nodes.is_sparse() || self.owners.is_sparse()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.nodes.memory_bytes() + self.owners.memory_bytes() + self.direct.as_deref().map_or(0, size_of_val)
    }

    /// Gives the prefix of `len` bits to `owner`; returns who had it.
    pub(super) fn insert(
        &mut self,
        key: K,
        len: u8,
        owner: PeerSlot,
    ) -> Result<Option<PeerSlot>, TooManyPrefixes> {
        let depth = len - len % STRIDE;
        let (mut at, mut parent, mut moved) = (self.root, NONE, NONE);
        let previous = loop {
            let Some(node) = self.nodes.get(at).copied() else {
                self.room()?;
                at = self.attach(parent, Node::new(key, depth));
                moved = parent;
                break self.set_owner(at, key, len, owner);
            };
            let shared = node.key.common(key).min(node.depth).min(depth);
            if shared < node.depth {
                self.room()?;
                self.fork(at, shared - shared % STRIDE);
                moved = at;
            } else if node.depth == depth {
                if !node.has(position(key.chunk(depth), len - depth)) {
                    self.room()?;
                }
                break self.set_owner(at, key, len, owner);
            } else {
                parent = at;
                at = node.kid(key.chunk(node.depth)).unwrap_or(NONE);
            }
        };
        self.len += usize::from(previous.is_none());
        if self.direct.is_none() && self.len >= K::DIRECT_MIN {
            self.build_direct();
        } else {
            self.refresh(key, len, moved);
        }
        Ok(previous)
    }

    /// Whether there may be one more prefix.
    const fn room(&self) -> Result<(), TooManyPrefixes> {
        if self.len < MAX_PREFIXES { Ok(()) } else { Err(TooManyPrefixes { max: MAX_PREFIXES }) }
    }

    /// Takes the prefix of `len` bits away from `owner`; false if it is not theirs.
    pub(super) fn remove(&mut self, key: K, len: u8, owner: PeerSlot) -> bool {
        let depth = len - len % STRIDE;
        let (mut at, mut parent) = (self.root, NONE);
        let node = loop {
            let Some(node) = self.nodes.get(at).copied() else { return false };
            if !node.leads_to(key) || node.depth > depth {
                return false;
            }
            if node.depth == depth {
                break node;
            }
            parent = at;
            at = node.kid(key.chunk(node.depth)).unwrap_or(NONE);
        };
        let position = position(key.chunk(depth), len - depth);
        if !node.has(position) || self.owner(&node, position) != Some(owner.0) {
            return false;
        }
        self.unset_owner(at, node, position);
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
            return true;
        }
        let moved = self.prune(at, parent, key);
        if self.len < K::DIRECT_MIN / 2 {
            self.direct = None;
        }
        self.refresh(key, len, moved);
        true
    }

    /// The owner of the prefix at `position` of `node`, which has one.
    #[inline]
    fn owner(&self, node: &Node<K>, position: u32) -> Option<u32> {
        if node.internal.is_power_of_two() {
            return Some(node.owners);
        }
        self.owners.get(node.owners + rank(node.internal, position)).copied()
    }

    fn set_owner(&mut self, at: u32, key: K, len: u8, owner: PeerSlot) -> Option<PeerSlot> {
        let node = self.nodes.get(at).copied()?;
        let position = position(key.chunk(node.depth), len - node.depth);
        let nth = rank(node.internal, position);
        let previous = if node.has(position) { self.owner(&node, position) } else { None };
        let owners = match (node.internal.count_ones(), previous) {
            (0, _) | (1, Some(_)) => owner.0,
            (_, Some(_)) => {
                if let Some(place) = self.owners.get_mut(node.owners + nth) {
                    *place = owner.0;
                }
                node.owners
            }
            (1, None) => {
                let start = self.owners.insert(0, 0, 0, node.owners);
                self.owners.insert(start, 1, nth, owner.0)
            }
            (count, None) => self.owners.insert(node.owners, count, nth, owner.0),
        };
        self.edit(at, |node| {
            node.owners = owners;
            node.internal |= 1 << position;
        });
        previous.map(PeerSlot)
    }

    fn unset_owner(&mut self, at: u32, node: Node<K>, position: u32) {
        let nth = rank(node.internal, position);
        let owners = match node.internal.count_ones() {
            0 | 1 => 0,
            2 => {
                let other = self.owners.get(node.owners + 1 - nth).copied();
                self.owners.release(node.owners, 2);
                other.unwrap_or(NONE)
            }
            count => self.owners.remove(node.owners, count, nth),
        };
        self.edit(at, |node| {
            node.owners = owners;
            node.internal &= !(1 << position);
        });
    }

    /// Hangs `leaf` below `parent` (or makes it the root); returns where it is.
    fn attach(&mut self, parent: u32, leaf: Node<K>) -> u32 {
        let Some(node) = self.nodes.get(parent).copied() else {
            self.root = self.nodes.insert(0, 0, 0, leaf);
            return self.root;
        };
        let chunk = leaf.key.chunk(node.depth);
        let kid_at = rank(node.external, chunk);
        let kids = self.nodes.insert(node.kids, node.external.count_ones(), kid_at, leaf);
        self.edit(parent, |node| {
            node.kids = kids;
            node.external |= 1 << chunk;
        });
        kids + kid_at
    }

    /// Puts a node of lesser `depth` in the place of the one `at`, which becomes its only kid.
    fn fork(&mut self, at: u32, depth: u8) {
        let Some(node) = self.nodes.get(at).copied() else { return };
        let kids = self.nodes.insert(0, 0, 0, node);
        let fork = Node { kids, external: 1 << node.key.chunk(depth), ..Node::new(node.key, depth) };
        self.edit(at, |node| *node = fork);
    }

    /// Removes the node `at` if nothing needs it; returns the node whose kids, or which itself, moved.
    fn prune(&mut self, at: u32, parent: u32, key: K) -> u32 {
        let Some(node) = self.nodes.get(at).copied() else { return NONE };
        if !node.is_redundant() {
            return NONE;
        }
        if node.external != 0 {
            return self.lift_only_kid(at, node);
        }
        let Some(above) = self.nodes.get(parent).copied() else { return NONE };
        let chunk = key.chunk(above.depth);
        let kids = self.nodes.remove(above.kids, above.external.count_ones(), rank(above.external, chunk));
        let above = Node { kids, external: above.external & !(1 << chunk), ..above };
        self.edit(parent, |node| *node = above);
        if above.is_redundant() { self.lift_only_kid(parent, above) } else { parent }
    }

    fn lift_only_kid(&mut self, at: u32, node: Node<K>) -> u32 {
        if let Some(kid) = self.nodes.get(node.kids).copied() {
            self.edit(at, |node| *node = kid);
            self.nodes.release(node.kids, 1);
        }
        at
    }

    fn edit(&mut self, at: u32, change: impl FnOnce(&mut Node<K>)) {
        if let Some(node) = self.nodes.get_mut(at) {
            change(node);
        }
    }

    fn build_direct(&mut self) {
        self.direct = Some((0..K::SLOTS).map(|slot| self.walk(slot)).collect());
    }

    /// Brings the direct table up to date after a change of the prefix of `len` bits and of the place of
    /// `moved` or its kids.
    fn refresh(&mut self, key: K, len: u8, moved: u32) {
        let Some(mut slots) = self.direct.take() else { return };
        let first = key.masked(len).slot();
        let covered = 1 << K::DIRECT.saturating_sub(len);
        for (slot, entry) in slots.iter_mut().enumerate().skip(first).take(covered) {
            *entry = self.walk(slot);
        }
        if let Some(node) = self.nodes.get(moved) {
            if node.depth >= K::DIRECT {
                slots[node.key.slot()] = self.walk(node.key.slot());
            } else {
                for at in node.kids..node.kids + node.external.count_ones() {
                    let Some(kid) = self.nodes.get(at) else { break };
                    if kid.depth >= K::DIRECT {
                        slots[kid.key.slot()].node = at;
                    }
                }
            }
        }
        self.direct = Some(slots);
    }

    /// Computes one slot of the direct table.
    fn walk(&self, slot: usize) -> Slot {
        let key = K::from_slot(slot);
        let mut next = self.root;
        let mut found = None;
        while let Some(node) = self.nodes.get(next) {
            if node.key.common(key) < node.depth.min(K::DIRECT) {
                next = NONE;
                break;
            }
            if node.depth >= K::DIRECT {
                break;
            }
            if let Some(position) = node.matching(key).checked_ilog2() {
                found = self.owner(node, position);
            }
            next = node.kid(key.chunk(node.depth)).unwrap_or(NONE);
        }
        Slot { owner: found.unwrap_or(NONE), node: next }
    }
}

/// Position of a prefix in the internal bitmap: `chunk` holds its last `relative` bits, left-aligned.
fn position(chunk: u32, relative: u8) -> u32 {
    1 << relative | chunk >> (STRIDE - relative)
}

/// How many bits are set below `bit`.
#[inline]
fn rank(bitmap: u64, bit: u32) -> u32 {
    (bitmap & ((1 << bit) - 1)).count_ones()
}

#[cfg(test)]
impl<K: Key> Table<K> {
    /// Panics unless the tree is minimal and well-formed and the direct table says what the tree says.
    pub(super) fn check_invariants(&self) {
        let (mut prefixes, mut pending) = (0, alloc::vec![(self.root, K::default(), 0)]);
        let (mut nodes, mut owners) = (usize::from(self.root != NONE), 0);
        while let Some((at, key, depth)) = pending.pop() {
            let Some(node) = self.nodes.get(at) else { continue };
            assert!(!node.is_redundant());
            assert!(node.key.common(key) >= depth && (at == self.root || node.depth > depth));
            assert_eq!((node.depth % STRIDE, node.internal & 1), (0, 0));
            assert!(node.key == node.key.masked(node.depth));
            prefixes += node.internal.count_ones() as usize;
            nodes += Blocks::<Node<K>>::block_len(node.external.count_ones());
            owners += Blocks::<u32>::block_len(if node.internal.is_power_of_two() {
                0
            } else {
                node.internal.count_ones()
            });
            for chunk in 0..64 {
                let Some(kid) = node.kid(chunk) else { continue };
                assert_eq!(self.nodes.get(kid).unwrap().key.chunk(node.depth), chunk);
                pending.push((kid, node.key, node.depth));
            }
        }
        assert_eq!(prefixes, self.len);
        assert_eq!((nodes, owners), (self.nodes.live(), self.owners.live()), "nothing leaks");
        for (at, slot) in self.direct.iter().flatten().enumerate() {
            let walked = self.walk(at);
            assert_eq!((slot.owner, slot.node), (walked.owner, walked.node), "slot {at}");
        }
    }

    /// Takes the table for one of so many prefixes.
    pub(super) const fn pretend_len(&mut self, len: usize) {
        self.len = len;
    }

    pub(super) fn has_direct(&self) -> bool {
        self.direct.is_some()
    }
}
