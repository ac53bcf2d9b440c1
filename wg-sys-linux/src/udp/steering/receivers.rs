//! Which members of a group receive for which, where that is not all others: a list for each home, and the part of the program that
//! finds a block's place in it.
//!
//! ```text
//!   home == 0?  block % 3:  0, 1 --> + 1      home == 1?  ..      else: the home
//!                              2 --> + 7
//! ```
//!
//! Members that follow each other are one run, so cores of one node, as they are numbered mostly, take a few instructions. Where the
//! program would be too long, each list is cut to the same length.

use std::sync::Arc;

use super::{
    ADD, INDEX_RESULT, Instruction, JUMP_IF_EQUAL, JUMP_IF_NOT_BELOW, LOAD_INDEX, LOAD_KEPT, REMAINDER,
    RETURN_RESULT,
};

/// The most instructions. The kernel takes 4096, but makes its own of them, some of one two, which may have 20 KiB.
const MOST: usize = 1600;
/// The most of one home, over which one jump leads.
const MOST_OF_ONE: usize = 255;

/// The receivers of each home, in the order in which blocks go round them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Receivers(Arc<[Vec<u16>]>);

impl Receivers {
    /// Takes the receivers of each of so many members, as many as a program can tell apart; those that are no others are left out.
    /// Nothing if each has all others, from the next on.
    pub(super) fn new(members: u16, of: impl Fn(usize) -> Vec<usize>) -> Option<Self> {
        let others = |home: u16| (1..members).map(move |step| (home + step) % members);
        let list = |home: u16| {
            let named = of(usize::from(home));
            others(home).filter(|other| named.contains(&usize::from(*other))).collect()
        };
        let mut lists: Vec<Vec<u16>> = (0..members).map(list).collect();
        if (0..).zip(&lists).all(|(home, list)| list.iter().copied().eq(others(home))) {
            return None;
        }
        let is_long = |lists: &[Vec<u16>]| {
            let lens = || lists.iter().map(|list| part(list).len());
            lens().any(|len| len > MOST_OF_ONE)
                || lens().filter(|len| *len > 0).map(|len| len + 1).sum::<usize>() > MOST
        };
        while is_long(&lists) {
            let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
            lists.iter_mut().for_each(|list| list.truncate(longest - 1));
        }
        Some(Self(lists.into()))
    }

    /// Who receives a block for a home, if anybody does.
    pub(super) fn of(&self, home: usize, block: u32) -> Option<usize> {
        let list = self.0.get(home)?;
        list.get(block as usize % list.len().max(1)).copied().map(usize::from)
    }

    /// Tells whether a member receives for a home.
    pub(super) fn names(&self, home: usize, receiver: usize) -> bool {
        self.0.get(home).is_some_and(|list| list.iter().any(|named| usize::from(*named) == receiver))
    }

    /// The instructions behind those that found the block. The home is kept; at the end it is the result, if it receives for itself.
    pub(super) fn program(&self) -> impl Iterator<Item = Instruction> {
        let homes = (0..).zip(self.0.iter()).filter(|(_, list)| !list.is_empty());
        let parts = homes.flat_map(|(home, list)| {
            let part = part(list);
            let if_false = u8::try_from(part.len()).unwrap_or(u8::MAX);
            let jump = Instruction { code: JUMP_IF_EQUAL, if_true: 0, if_false, operand: home };
            [jump].into_iter().chain(part)
        });
        [Instruction::plain(INDEX_RESULT, 0), Instruction::plain(LOAD_KEPT, 0)].into_iter().chain(parts)
    }
}

/// The instructions of one home.
fn part(list: &[u16]) -> Vec<Instruction> {
    let Ok(len @ 1..) = u32::try_from(list.len()) else { return Vec::new() };
    let mut part = vec![Instruction::plain(LOAD_INDEX, 0), Instruction::plain(REMAINDER, len)];
    let mut at = 0;
    for run in list.chunk_by(|one, next| one + 1 == *next) {
        let (from, to) = (at, at + u32::try_from(run.len()).unwrap_or(0));
        if to < len {
            part.push(Instruction { code: JUMP_IF_NOT_BELOW, if_true: 2, if_false: 0, operand: to });
        }
        part.push(Instruction::plain(ADD, u32::from(run[0]).wrapping_sub(from)));
        part.push(Instruction::plain(RETURN_RESULT, 0));
        at = to;
    }
    part
}
