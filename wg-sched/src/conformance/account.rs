//! What became of each batch.

use alloc::vec::Vec;

use crate::io::Direction;

/// What a machine knows of a batch, and has with it wherever it goes. There is no second one of the kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Tag {
    /// The peer.
    pub peer: u32,
    /// The direction.
    pub direction: Direction,
    /// Its number among all that came of this peer and direction.
    pub number: u64,
    crypted: bool,
}

impl Tag {
    /// Notes its crypt phase.
    ///
    /// # Panics
    ///
    /// If it had one.
    pub fn crypt(&mut self) {
        assert!(!self.crypted, "{self:?} is crypted twice");
        self.crypted = true;
    }

    /// Tells whether it had its crypt phase.
    #[must_use]
    pub const fn is_crypted(&self) -> bool {
        self.crypted
    }
}

/// Of one peer and direction.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    come: u64,
    polled: u64,
    sent: u64,
    dropped: u64,
    /// The least number that may be sent next.
    next: u64,
}

/// The account of all batches of a machine.
#[derive(Debug)]
pub struct Account {
    streams: Vec<Stream>,
}

impl Account {
    /// Opens an account for so many peers. Nothing allocates later.
    #[must_use]
    pub fn new(peers: u32) -> Self {
        Self { streams: alloc::vec![Stream::default(); peers as usize * 2] }
    }

    fn stream(&mut self, peer: u32, direction: Direction) -> &mut Stream {
        &mut self.streams[peer as usize * 2 + usize::from(direction == Direction::Out)]
    }

    /// Notes that a batch has come, and gives its number. It may be lost before it is polled.
    pub fn come(&mut self, peer: u32, direction: Direction) -> u64 {
        let stream = self.stream(peer, direction);
        stream.come += 1;
        stream.come - 1
    }

    /// Notes a poll.
    pub fn polled(&mut self, peer: u32, direction: Direction, number: u64) -> Tag {
        self.stream(peer, direction).polled += 1;
        Tag { peer, direction, number, crypted: false }
    }

    /// Notes a send.
    ///
    /// # Panics
    ///
    /// If it was not crypted, goes the wrong way, or comes after a later one.
    #[expect(clippy::needless_pass_by_value, reason = "a batch is sent once")]
    pub fn sent(&mut self, tag: Tag, direction: Direction) {
        assert!(tag.crypted, "{tag:?} is sent without its crypt phase");
        assert_eq!(tag.direction, direction, "{tag:?} goes the wrong way");
        let stream = self.stream(tag.peer, direction);
        assert!(tag.number >= stream.next, "{tag:?} is sent after number {}", stream.next - 1);
        stream.next = tag.number + 1;
        stream.sent += 1;
    }

    /// Tells whether a later batch of the stream was sent.
    pub fn is_late(&mut self, tag: &Tag) -> bool {
        tag.number < self.stream(tag.peer, tag.direction).next
    }

    /// Notes the send of a batch that was waited for as long as one may be. Its order is not looked at.
    ///
    /// # Panics
    ///
    /// If it was not crypted.
    #[expect(clippy::needless_pass_by_value, reason = "a batch is sent once")]
    pub fn sent_late(&mut self, tag: Tag) {
        assert!(tag.crypted, "{tag:?} is sent without its crypt phase");
        self.stream(tag.peer, tag.direction).sent += 1;
    }

    /// Notes a drop that is counted.
    #[expect(clippy::needless_pass_by_value, reason = "a batch is dropped once")]
    pub fn dropped(&mut self, tag: Tag) {
        self.stream(tag.peer, tag.direction).dropped += 1;
    }

    /// Batches of a peer and direction that were polled and neither sent nor dropped.
    pub fn under_way_of(&mut self, peer: u32, direction: Direction) -> u64 {
        let stream = self.stream(peer, direction);
        stream.polled - stream.sent - stream.dropped
    }

    /// Batches that were polled and neither sent nor dropped.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.streams.iter().map(|stream| stream.polled - stream.sent - stream.dropped).sum()
    }

    /// Batches that were sent.
    #[must_use]
    pub fn all_sent(&self) -> u64 {
        self.streams.iter().map(|stream| stream.sent).sum()
    }

    /// Batches that were dropped.
    #[must_use]
    pub fn all_dropped(&self) -> u64 {
        self.streams.iter().map(|stream| stream.dropped).sum()
    }
}
