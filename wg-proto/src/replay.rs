//! The replay window: which counters were seen, of the last 8128 or of fewer. RFC 6479; white paper, section 5.4.6.
//!
//! ```text
//!            usable: 8128 behind the newest
//!        |<----------------------------------->|
//!  ..old | word | word |  ...  | word | word(n) | ..ahead
//!        ^ one word of 64 is always spare: it is cleared when the newest enters the next
//! ```
//!
//! A ring of 128 words of 64 bits; a counter's word is `counter / 64 mod 128`. Moving ahead clears the words between,
//! all of them for a jump of 8192 or more. Where memory is short the ring may have fewer words. `check` looks, `commit`
//! moves: only an authenticated packet may commit (C76).

#[cfg(feature = "test-util")]
use crate::fingerprint::Fingerprint;
use crate::limits::REPLAY_WORDS;

const WORD_BITS: u64 = 64;

/// A sliding window over the counters of one key, `64 (WORDS - 1)` wide: 8128, unless it is made smaller.
///
/// `WORDS` is a power of two, and two at least; anything else does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayWindow<const WORDS: usize = REPLAY_WORDS> {
    /// One more than the newest counter; 0 before the first.
    end: u64,
    words: [u64; WORDS],
}

/// The counter was seen before or is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed;

impl core::fmt::Display for Replayed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("counter seen before or too old")
    }
}

impl core::error::Error for Replayed {}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        Self::sized()
    }
}

impl ReplayWindow {
    /// Makes a window of the usual width that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self::sized()
    }
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    /// How far behind the newest counter one may be.
    pub const WIDTH: u64 = (WORDS as u64 - 1) * WORD_BITS;

    /// Makes a window that has seen nothing, of `WORDS` words.
    #[must_use]
    pub const fn sized() -> Self {
        const { assert!(WORDS.is_power_of_two() && WORDS >= 2, "a power of two, and two at least") };
        Self { end: 0, words: [0; WORDS] }
    }

    /// Tells whether `commit` would accept `counter`; changes nothing.
    ///
    /// # Errors
    ///
    /// [`Replayed`].
    pub fn check(&self, counter: u64) -> Result<(), Replayed> {
        let Some(newest) = self.end.checked_sub(1) else { return Ok(()) };
        if counter > newest {
            return Ok(());
        }
        if newest.saturating_sub(counter) > Self::WIDTH {
            return Err(Replayed);
        }
        let (word, bit) = Self::place(counter);
        match self.words.get(word) {
            Some(word) if word & bit == 0 => Ok(()),
            _ => Err(Replayed),
        }
    }

    /// Marks `counter` as seen.
    ///
    /// # Errors
    ///
    /// [`Replayed`] if it was seen before or is too old; the window has not moved.
    pub fn commit(&mut self, counter: u64) -> Result<(), Replayed> {
        // The last counter has no successor to name it by; it is far above the limit of a session.
        let end = counter.checked_add(1).ok_or(Replayed)?;
        self.check(counter)?;
        if end > self.end {
            self.advance(counter);
            self.end = end;
        }
        let (word, bit) = Self::place(counter);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
        Ok(())
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        into.number(self.end);
        for (place, word) in self.words.iter().enumerate().filter(|(_, word)| **word != 0) {
            into.number(place as u64);
            into.number(*word);
        }
        into.number(WORDS as u64);
    }

    /// Clears the words that the newest counter moves over.
    fn advance(&mut self, newest: u64) {
        // Before the first packet the window ends within word zero, which is clear.
        let from = self.end.saturating_sub(1) / WORD_BITS;
        let to = newest / WORD_BITS;
        if to.saturating_sub(from) >= WORDS as u64 {
            self.words = [0; WORDS];
            return;
        }
        for word in from.saturating_add(1)..=to {
            if let Some(word) = self.words.get_mut(Self::place(word.saturating_mul(WORD_BITS)).0) {
                *word = 0;
            }
        }
    }

    /// The word of a counter and its bit in it.
    const fn place(counter: u64) -> (usize, u64) {
        let word = (counter / WORD_BITS) % WORDS as u64;
        let word = word as usize;
        (word, 1 << (counter % WORD_BITS))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashSet;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// The rule, written out: unseen, and at most the width behind the newest.
    struct Model {
        width: u64,
        seen: HashSet<u64>,
        newest: Option<u64>,
    }

    impl Model {
        fn commit(&mut self, counter: u64) -> bool {
            let old = self.newest.is_some_and(|newest| newest > counter && newest - counter > self.width);
            if old || counter == u64::MAX || !self.seen.insert(counter) {
                return false;
            }
            self.newest = self.newest.max(Some(counter));
            true
        }
    }

    fn compare(counters: impl IntoIterator<Item = u64>) {
        compare_with::<REPLAY_WORDS>(8128, counters);
    }

    fn compare_with<const WORDS: usize>(width: u64, counters: impl IntoIterator<Item = u64>) {
        let mut window = ReplayWindow::<WORDS>::sized();
        let mut model = Model { width, seen: HashSet::new(), newest: None };
        for counter in counters {
            let before = window.clone();
            let looked = window.check(counter);
            assert_eq!(window.words, before.words, "check moves nothing");
            let accepted = window.commit(counter);
            assert_eq!(accepted.is_ok(), model.commit(counter), "counter {counter}");
            if counter != u64::MAX {
                assert_eq!(looked, accepted, "check tells what commit does: counter {counter}");
            }
        }
    }

    #[test]
    fn edges_of_the_window() {
        // C77, C78: boundaries derived from the width (8128 = 127 words) and the ring (8192 = 128 words).
        compare([0, 0, 1, 1, 9, 8, 7, 7, 8128, 8127, 8127, 0, 8129, 1, 8136, 8, 7, 9]);
        compare([8192, 64, 63, 65, 8192 + 64, 64, 128, 127]);
        for jump in [8127, 8128, 8129, 8191, 8192, 8193, 16_384, 1 << 40] {
            compare([5, 5 + jump, 5, 6, jump - 8123, jump - 8124, 5 + jump]);
        }
        let top = u64::MAX - 1;
        compare([top - 8128, top, top - 8128, top - 8129, top - 1, u64::MAX, u64::MAX, 0]);
    }

    #[test]
    fn edges_of_smaller_windows() {
        // C77: the same edges, for 31 words, and for one.
        for jump in [1983, 1984, 1985, 2047, 2048, 2049, 1 << 40] {
            compare_with::<32>(1984, [5, 5 + jump, 5, 6, 7, jump - 1979, jump - 1980, jump - 1978, 5 + jump]);
        }
        for jump in [63, 64, 65, 127, 128, 129, 1 << 40] {
            compare_with::<2>(64, [5, 5 + jump, 5, 6, 7, jump - 59, jump - 60, jump - 58, 5 + jump]);
        }
        let top = u64::MAX - 1;
        compare_with::<32>(1984, [top - 1984, top, top - 1984, top - 1985, top - 1, u64::MAX, 0]);
        assert_eq!(ReplayWindow::<32>::WIDTH, 1984);
        assert_eq!(ReplayWindow::<REPLAY_WORDS>::WIDTH, 8128);
    }

    #[test]
    fn reordering_to_the_full_depth_loses_nothing() {
        // Defect 30: every permutation within the window is accepted once.
        let mut window = ReplayWindow::new();
        for block in 0..4 {
            let base = block * 8129;
            for counter in (base..base + 8129).rev() {
                assert_eq!(window.commit(counter), Ok(()), "{counter}");
            }
            for counter in base..base + 8129 {
                assert_eq!(window.commit(counter), Err(Replayed), "{counter}");
            }
        }
    }

    fn counters() -> impl Strategy<Value = Vec<u64>> {
        let near = (0_u64..40_000).boxed();
        let step = prop_oneof![0_u64..3, 60_u64..70, 8_120_u64..8_200, Just(u64::MAX / 2), 0_u64..100_000];
        prop_oneof![
            proptest::collection::vec(near, 0..400),
            proptest::collection::vec((step, 0_u64..8_300), 0..400).prop_map(|steps| {
                let mut newest = 0_u64;
                steps
                    .into_iter()
                    .map(|(ahead, behind)| {
                        newest = newest.saturating_add(ahead);
                        newest.saturating_sub(behind)
                    })
                    .collect()
            }),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_all_counters_seen(counters in counters()) {
            compare_with::<32>(1984, counters.iter().copied());
            compare(counters);
        }
    }
}
