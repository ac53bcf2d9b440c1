//! Packet buffers from a bounded pool: memory for traffic is decided once, not by the traffic.
//!
//! Two classes: small for lone packets, large for a read of 64 KiB with everything put around it. A pool makes
//! a buffer the first time it is needed, up to its bound, and hands it out again as it is: what an earlier
//! packet left in it stays until it is overwritten. Memory that no packet reached is never touched.
//!
//! A slab may come into the hands of another lane, with a frame that was read there. Put into the pool of that lane, it lies
//! apart until it is sent home: so no pool runs dry, and none grows.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, DerefMut};

use crate::home::HomeId;

/// The size of a [`Slab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlabClass {
    /// 2 KiB: one packet at an ordinary MTU.
    Small,
    /// 72 KiB: the longest IP packet, padded, with message header and tag; and the messages of a frame of 64 KiB, each with headers
    /// of its own, at MTUs from 1280 on.
    Large,
}

impl SlabClass {
    /// Both classes.
    pub const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Small => 2048,
            Self::Large => 72 << 10,
        }
    }

    /// The smallest class that holds `len` bytes.
    #[must_use]
    pub const fn for_len(len: usize) -> Option<Self> {
        if len <= Self::Small.bytes() {
            Some(Self::Small)
        } else if len <= Self::Large.bytes() {
            Some(Self::Large)
        } else {
            None
        }
    }
}

/// An owned packet buffer. The default is an empty one, to leave behind when a slab is moved out.
#[derive(Default)]
pub struct Slab {
    bytes: Box<[u8]>,
    /// Whose pool it belongs to.
    home: HomeId,
}

impl Slab {
    fn new(class: SlabClass, home: HomeId) -> Self {
        Self { bytes: vec![0; class.bytes()].into_boxed_slice(), home }
    }

    /// Whose pool it belongs to.
    pub(crate) const fn home(&self) -> HomeId {
        self.home
    }

    fn class(&self) -> Option<SlabClass> {
        SlabClass::ALL.into_iter().find(|class| class.bytes() == self.bytes.len())
    }
}

impl Deref for Slab {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Slab {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} bytes)", self.bytes.len())
    }
}

/// A bounded number of slabs of each class.
///
/// A slab that is dropped instead of put back is lost to the pool, which does not replace it.
///
/// # Examples
///
/// ```
/// use wg_datapath::slab::{SlabClass, SlabPool};
///
/// let mut pool = SlabPool::new(1, 8);
/// let slab = pool.take(SlabClass::Small).unwrap();
/// assert!(pool.take(SlabClass::Small).is_none());
/// pool.put(slab);
/// assert!(pool.take(SlabClass::Small).is_some());
/// ```
pub struct SlabPool {
    small: Shelf,
    large: Shelf,
    home: HomeId,
    /// Slabs of other pools, to be sent there.
    strays: Vec<Slab>,
}

impl SlabPool {
    /// A pool of at most `small` and `large` slabs; allocates no slab yet.
    #[must_use]
    pub fn new(small: usize, large: usize) -> Self {
        Self {
            small: Shelf::new(small),
            large: Shelf::new(large),
            home: HomeId::default(),
            strays: Vec::new(),
        }
    }

    /// Makes this the pool of `home`, which has made no slab yet, with room for as many slabs of others.
    pub(crate) fn set_home(&mut self, home: HomeId, strays: usize) {
        debug_assert!(self.small.made + self.large.made == 0, "its slabs are another's");
        self.home = home;
        self.strays.reserve_exact(strays);
    }

    /// Raises the bounds by so many slabs of each class.
    pub(crate) fn enlarge(&mut self, small: usize, large: usize) {
        for (shelf, more) in [(&mut self.small, small), (&mut self.large, large)] {
            shelf.capacity += more;
            shelf.idle.reserve_exact(shelf.capacity - shelf.idle.len());
        }
    }

    /// Takes a slab of another pool that was put into this one.
    pub(crate) fn take_stray(&mut self) -> Option<Slab> {
        self.strays.pop()
    }

    /// Makes slabs ahead of time, up to `count` of a class and its bound. Memory that no packet reached stays untouched.
    pub fn make(&mut self, class: SlabClass, count: usize) {
        let home = self.home;
        let shelf = self.shelf_mut(class);
        while shelf.made < count.min(shelf.capacity) {
            shelf.made += 1;
            shelf.idle.push(Slab::new(class, home));
        }
    }

    /// Takes a slab, the one put back last if there is one; `None` when all are out.
    ///
    /// Its content is whatever it held before.
    pub fn take(&mut self, class: SlabClass) -> Option<Slab> {
        let home = self.home;
        let shelf = self.shelf_mut(class);
        let slab = match shelf.idle.pop() {
            Some(slab) => slab,
            None if shelf.made < shelf.capacity => {
                shelf.made += 1;
                Slab::new(class, home)
            }
            None => return None,
        };
        shelf.high_water = shelf.high_water.max(shelf.in_use());
        Some(slab)
    }

    /// Puts a slab back. One that is empty, or more than were taken, is dropped.
    pub fn put(&mut self, slab: Slab) {
        let Some(class) = slab.class() else { return };
        if slab.home != self.home {
            // There is room for all that were ever lent.
            return self.strays.push(slab);
        }
        let shelf = self.shelf_mut(class);
        if shelf.in_use() > 0 {
            shelf.idle.push(slab);
        }
    }

    /// How many slabs of a class there may be.
    #[must_use]
    pub const fn capacity(&self, class: SlabClass) -> usize {
        self.shelf(class).capacity
    }

    /// How many slabs of a class are out.
    #[must_use]
    pub const fn in_use(&self, class: SlabClass) -> usize {
        self.shelf(class).in_use()
    }

    /// How many more slabs of a class may be taken.
    #[must_use]
    pub const fn spare(&self, class: SlabClass) -> usize {
        self.capacity(class) - self.in_use(class)
    }

    /// The most slabs of a class that were ever out at once.
    #[must_use]
    pub const fn high_water(&self, class: SlabClass) -> usize {
        self.shelf(class).high_water
    }

    /// The most memory the pool will ever hold, slabs that are out included.
    #[must_use]
    pub const fn max_memory(&self) -> usize {
        self.small.capacity * (SlabClass::Small.bytes() + size_of::<Slab>())
            + self.large.capacity * (SlabClass::Large.bytes() + size_of::<Slab>())
            + self.strays.capacity() * size_of::<Slab>()
    }

    const fn shelf(&self, class: SlabClass) -> &Shelf {
        match class {
            SlabClass::Small => &self.small,
            SlabClass::Large => &self.large,
        }
    }

    const fn shelf_mut(&mut self, class: SlabClass) -> &mut Shelf {
        match class {
            SlabClass::Small => &mut self.small,
            SlabClass::Large => &mut self.large,
        }
    }
}

impl fmt::Debug for SlabPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabPool").field("small", &self.small).field("large", &self.large).finish()
    }
}

/// The slabs of one class.
struct Shelf {
    idle: Vec<Slab>,
    made: usize,
    capacity: usize,
    high_water: usize,
}

impl Shelf {
    fn new(capacity: usize) -> Self {
        Self { idle: Vec::with_capacity(capacity), made: 0, capacity, high_water: 0 }
    }

    const fn in_use(&self) -> usize {
        self.made - self.idle.len()
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} out, at most {}", self.in_use(), self.capacity, self.high_water)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::*;

    #[test]
    fn a_large_slab_holds_the_longest_packet_sealed() {
        // Header 16, packet of 65,535 padded to 65,536, tag 16.
        assert!(SlabClass::Large.bytes() >= 16 + 65_536 + 16);
        assert_eq!((SlabClass::Small.bytes(), SlabClass::Large.bytes()), (2048, 73_728));
    }

    #[test]
    fn lengths_choose_the_smallest_class() {
        for (len, class) in [
            (0, Some(SlabClass::Small)),
            (2048, Some(SlabClass::Small)),
            (2049, Some(SlabClass::Large)),
            (73_728, Some(SlabClass::Large)),
            (73_729, None),
        ] {
            assert_eq!(SlabClass::for_len(len), class);
        }
    }

    #[test]
    fn the_bound_holds_and_is_per_class() {
        let mut pool = SlabPool::new(2, 1);
        let small = [pool.take(SlabClass::Small).unwrap(), pool.take(SlabClass::Small).unwrap()];
        assert!(pool.take(SlabClass::Small).is_none());
        assert_eq!([SlabClass::Small, SlabClass::Large].map(|class| pool.spare(class)), [0, 1]);
        let large = pool.take(SlabClass::Large).unwrap();
        assert!(pool.take(SlabClass::Large).is_none());
        assert_eq!((small[0].len(), large.len()), (2048, 73_728));
        pool.put(large);
        assert!(pool.take(SlabClass::Small).is_none());
        small.into_iter().for_each(|slab| pool.put(slab));
        assert!(pool.take(SlabClass::Small).is_some());
    }

    #[test]
    fn slabs_made_ahead_count_towards_the_bound() {
        let mut pool = SlabPool::new(3, 0);
        pool.make(SlabClass::Small, 2);
        pool.make(SlabClass::Small, 9);
        pool.make(SlabClass::Large, 1);
        assert_eq!(pool.in_use(SlabClass::Small), 0);
        assert_eq!([(); 4].map(|()| pool.take(SlabClass::Small).is_some()), [true, true, true, false]);
        assert!(pool.take(SlabClass::Large).is_none());
    }

    #[test]
    fn a_slab_comes_back_as_it_was_left() {
        let mut pool = SlabPool::new(1, 0);
        let mut slab = pool.take(SlabClass::Small).unwrap();
        assert!(slab.iter().all(|&byte| byte == 0));
        slab[7] = 9;
        let at = slab.as_ptr();
        pool.put(slab);
        let slab = pool.take(SlabClass::Small).unwrap();
        assert_eq!((slab[7], slab.as_ptr()), (9, at));
    }

    #[test]
    fn counts_follow_takes_and_puts() {
        let mut pool = SlabPool::new(4, 0);
        let counts = |pool: &SlabPool| (pool.in_use(SlabClass::Small), pool.high_water(SlabClass::Small));
        let [a, b, c] = [(); 3].map(|()| pool.take(SlabClass::Small).unwrap());
        assert_eq!(counts(&pool), (3, 3));
        pool.put(a);
        pool.put(b);
        assert_eq!(counts(&pool), (1, 3));
        let d = pool.take(SlabClass::Small).unwrap();
        assert_eq!((counts(&pool), pool.capacity(SlabClass::Small)), ((2, 3), 4));
        pool.put(c);
        pool.put(d);
        assert_eq!(counts(&pool), (0, 3));
    }

    #[test]
    fn foreign_and_empty_slabs_do_not_raise_the_bound() {
        let mut pool = SlabPool::new(1, 0);
        let mut other = SlabPool::new(1, 0);
        pool.put(other.take(SlabClass::Small).unwrap());
        pool.put(Slab::default());
        let own = pool.take(SlabClass::Small).unwrap();
        assert!(pool.take(SlabClass::Small).is_none());
        drop(own);
        assert!(pool.take(SlabClass::Small).is_none());
        assert_eq!(pool.max_memory(), 2048 + size_of::<Slab>());
    }

    #[test]
    fn slabs_of_another_lane_lie_apart_until_they_go_home() {
        let mut pools = [0, 1].map(|home| {
            let mut pool = SlabPool::new(1, 0);
            pool.set_home(HomeId::new(home), 1);
            pool
        });
        let slab = pools[0].take(SlabClass::Small).unwrap();
        pools[1].put(slab);
        let own = pools[1].take(SlabClass::Small).unwrap();
        assert!(pools[1].take(SlabClass::Small).is_none() && pools[0].take(SlabClass::Small).is_none());
        pools[1].put(own);
        let stray = pools[1].take_stray().unwrap();
        assert!(pools[1].take_stray().is_none());
        assert_eq!(stray.home(), HomeId::new(0));
        pools[0].put(stray);
        assert!(pools[0].take(SlabClass::Small).is_some());
    }

    #[test]
    fn debug_shows_lengths_and_no_content() {
        let mut pool = SlabPool::new(1, 1);
        let mut slab = pool.take(SlabClass::Small).unwrap();
        slab.fill(77);
        assert_eq!(format!("{slab:?}"), "Slab(2048 bytes)");
        pool.put(slab);
        assert!(!format!("{pool:?}").contains("77"));
    }
}
