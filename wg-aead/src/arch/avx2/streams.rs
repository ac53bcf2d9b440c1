//! Two messages at a time through Poly1305, a step of each whenever the cipher leaves room for it.

use zeroize::Zeroize;

use super::chacha20::Beside;
use super::memory::{Half, wipe_half};
use super::passes::Direction;
use super::poly1305::Poly1305;
use crate::packet::{GROUP, Group};

/// The ciphertexts of a group.
pub(super) struct Texts<'g, 'm, 'a> {
    pub(super) group: &'m Group<'g, 'a>,
    pub(super) direction: Direction,
}

impl<'m> Texts<'_, 'm, '_> {
    #[inline(always)]
    fn get(&self, packet: usize) -> &'m [u8] {
        match self.group.get(packet) {
            Some(packet) if self.direction == Direction::Open => packet.ciphertext(),
            Some(packet) => packet.text,
            None => &[],
        }
    }
}

/// How much of a ciphertext may be absorbed by now.
#[derive(Clone, Copy, Default)]
struct Readable {
    bytes: u32,
    /// Whether that is all, and the tag can be made.
    whole: bool,
}

/// The tags of a group.
pub(super) struct Streams {
    pub(super) one_time_keys: [Half; GROUP],
    pub(super) tags: [[u8; 16]; GROUP],
    readable: [Readable; GROUP],
    count: usize,
    /// One goes through packets 0, 2, 4 and so on, the other through packets 1, 3, 5.
    streams: [Stream; 2],
    /// The next packets whose tags were not asked for.
    untold: [usize; 2],
}

/// Every other message, one after the other.
#[derive(Clone, Copy)]
struct Stream {
    packet: usize,
    /// Chunks of 32 bytes absorbed of that; `None` before its one-time key was known.
    absorbed: Option<usize>,
    poly: Poly1305,
}

/// What a stream can go on with.
#[derive(Clone, Copy)]
struct Feed<'m> {
    chunks: &'m [[u8; 32]],
    whole: bool,
}

/// The streams while no ciphertext changes.
pub(super) struct Running<'s, 'm, 'g, 'a> {
    all: &'s mut Streams,
    texts: &'s Texts<'g, 'm, 'a>,
    streams: [Stream; 2],
    feeds: [Feed<'m>; 2],
}

impl Streams {
    #[inline]
    pub(super) fn new(count: usize) -> Self {
        let stream = |packet| Stream { packet, absorbed: None, poly: Poly1305::default() };
        Self {
            one_time_keys: [Half([0; 32]); GROUP],
            tags: [[0; 16]; GROUP],
            readable: [Readable::default(); GROUP],
            count,
            streams: [stream(0), stream(1)],
            untold: [0, 1],
        }
    }

    /// Lets the first bytes of a packet be absorbed, whose one-time key is there.
    #[inline]
    pub(super) fn may_absorb(&mut self, packet: usize, bytes: usize, whole: bool) {
        self.readable[packet] = Readable { bytes: bytes as u32, whole };
    }

    /// A packet whose tag has been made since the last time.
    #[inline]
    pub(super) fn next_tagged(&mut self) -> Option<usize> {
        for (untold, stream) in self.untold.iter_mut().zip(&self.streams) {
            if *untold < stream.packet.min(self.count) {
                *untold += 2;
                return Some(*untold - 2);
            }
        }
        None
    }

    #[inline(always)]
    pub(super) fn resume<'s, 'm, 'g, 'a>(
        &'s mut self,
        texts: &'s Texts<'g, 'm, 'a>,
    ) -> Running<'s, 'm, 'g, 'a> {
        let mut streams = self.streams;
        let feeds = [self.feed(&mut streams[0], texts), self.feed(&mut streams[1], texts)];
        Running { all: self, texts, streams, feeds }
    }

    /// What there is to absorb for a stream.
    #[inline(always)]
    fn feed<'m>(&self, stream: &mut Stream, texts: &Texts<'_, 'm, '_>) -> Feed<'m> {
        let nothing = Feed { chunks: &[], whole: false };
        let Some(Readable { bytes, whole }) = self.readable.get(stream.packet).copied() else {
            return nothing;
        };
        if bytes < 32 && !whole {
            return nothing;
        }
        let absorbed = match stream.absorbed {
            Some(absorbed) => absorbed,
            None => {
                stream.poly = Poly1305::new(&self.one_time_keys[stream.packet].0);
                stream.absorbed = Some(0);
                0
            }
        };
        let text = texts.get(stream.packet);
        let chunks = text.get(..bytes as usize).unwrap_or_default().as_chunks().0;
        Feed { chunks: chunks.get(absorbed..).unwrap_or_default(), whole }
    }

    /// Absorbs all that is left.
    #[inline(never)]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn finish(&mut self, texts: &Texts<'_, '_, '_>) {
        let count = self.count;
        let mut running = self.resume(texts);
        while running.streams.iter().any(|stream| stream.packet < count) {
            running.step();
        }
        running.pause();
    }

    /// Absorbs until the tag of a packet is made.
    #[inline(never)]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn finish_up_to(&mut self, packet: usize, texts: &Texts<'_, '_, '_>) {
        let mut running = self.resume(texts);
        while running.streams[packet % 2].packet <= packet {
            running.step();
        }
        running.pause();
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    pub(super) fn wipe(&mut self) {
        for key in self.one_time_keys.iter_mut().take(self.count) {
            wipe_half(key);
        }
        for stream in &mut self.streams {
            stream.poly.zeroize();
        }
    }
}

impl Beside for Running<'_, '_, '_, '_> {
    /// A step of either stream: 32 bytes, or from one message to the next.
    #[inline(always)]
    fn step(&mut self) {
        let Self { all, texts, streams: [a, b], feeds: [feed_a, feed_b] } = self;
        step(all, a, feed_a, texts);
        step(all, b, feed_b, texts);
    }
}

impl Running<'_, '_, '_, '_> {
    /// The steps that could be done at once.
    #[inline]
    pub(super) fn steps_left(&self) -> usize {
        self.feeds.iter().map(|feed| feed.chunks.len()).sum()
    }

    #[inline(always)]
    pub(super) fn pause(self) {
        let Self { all, mut streams, feeds, .. } = self;
        for (stream, feed) in streams.iter_mut().zip(feeds) {
            if let (Some(absorbed), Some(readable)) = (&mut stream.absorbed, all.readable.get(stream.packet))
            {
                *absorbed = readable.bytes as usize / 32 - feed.chunks.len();
            }
        }
        all.streams = streams;
    }
}

#[inline(always)]
fn step<'m>(all: &mut Streams, stream: &mut Stream, feed: &mut Feed<'m>, texts: &Texts<'_, 'm, '_>) {
    if let Some((chunk, rest)) = feed.chunks.split_first() {
        stream.poly.two_blocks(chunk);
        feed.chunks = rest;
    } else if feed.whole {
        let text = texts.get(stream.packet);
        stream.poly.end(text.as_chunks::<32>().1, text.len());
        all.tags[stream.packet] = stream.poly.tag(&all.one_time_keys[stream.packet].0);
        stream.packet += 2;
        stream.absorbed = None;
        *feed = all.feed(stream, texts);
    }
}
