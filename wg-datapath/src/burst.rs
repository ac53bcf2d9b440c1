//! How much a batch carries where the way out is slower than the processor: what leaves in about a millisecond, so that whoever
//! has its turn next does not wait for longer behind it.
//!
//! Nothing is measured until a socket would block. From then on the lane counts what it hands over and looks, once a
//! millisecond at most, at what the sockets still hold; what is missing has left. When little is held, the pressure is over:
//! the cap is off, and so is all counting.
//!
//! ```text
//!   off --would block--> pressed: rate = (held before + handed over - held now) / time, a moving mean over looks
//!    ^                      |      cap  = 1 ms of the rate, from 2 packets of the MTU to a whole batch
//!    `-held now <= 2 caps---'
//! ```
//!
//! Sockets count memory, which is more than the packets carry. So a look at which they hold much more than before says little
//! of what has left: the next one, over a longer time, is taken instead. Nor does it say how fast something left that more has left
//! than was held at first: there may have been nothing to send for a while.

use core::time::Duration;

use wg_proto::Instant;
use wg_proto::wire::TRANSPORT_OVERHEAD;

/// The shortest time between two looks, and the time in which a batch is to leave.
const LOOK: Duration = Duration::from_millis(1);
/// A cap that is none.
const WHOLE: u64 = 1 << 16;
/// How much of the mean is that of the looks before: so many parts of one more.
const KEPT: u64 = 3;

/// The largest batch, by what is known of the way out.
#[derive(Debug, Default)]
pub(crate) struct BurstCap(Option<Pressure>);

/// What is known while the way out is slower.
#[derive(Clone, Copy, Debug)]
struct Pressure {
    /// The look that the next is compared with, and what the sockets held then or took right after.
    since: Instant,
    held: u64,
    /// Bytes that they took later.
    handed: u64,
    /// Bytes in a second, once there was something to compare.
    rate: Option<u64>,
}

impl BurstCap {
    /// Counts bytes that a socket took.
    pub(crate) fn handed(&mut self, bytes: usize, now: Instant) {
        if let Some(pressure) = &mut self.0 {
            let is_early = since(pressure.since, now) < LOOK;
            let sum = if is_early { &mut pressure.held } else { &mut pressure.handed };
            *sum = sum.saturating_add(bytes as u64);
        }
    }

    /// Whether it is time for a look after a socket would have blocked.
    pub(crate) fn is_due_when_blocked(&self, now: Instant) -> bool {
        self.0.is_none() || self.is_due(now)
    }

    /// Whether it is time for a look at any other moment; never while there is no pressure.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.0.is_some_and(|pressure| since(pressure.since, now) >= LOOK)
    }

    /// Takes in what the sockets hold.
    pub(crate) fn look(&mut self, held: usize, mtu: usize, now: Instant) {
        let held = held as u64;
        let Some(pressure) = &mut self.0 else {
            self.0 = Some(Pressure { since: now, held, handed: 0, rate: None });
            return;
        };
        let time = since(pressure.since, now);
        if time < LOOK || held > pressure.held.saturating_add(pressure.handed / 2) {
            return;
        }
        let left = pressure.held.saturating_add(pressure.handed).saturating_sub(held);
        if left < pressure.held {
            let rate = u128::from(left) * 1_000_000_000 / time.as_nanos().max(1);
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            let mean = |before: u64| before / (KEPT + 1) * KEPT + rate / (KEPT + 1);
            pressure.rate = Some(pressure.rate.map_or(rate, mean));
        }
        (pressure.since, pressure.held, pressure.handed) = (now, held, 0);
        if held <= 2 * self.cap(mtu) {
            self.0 = None;
        }
    }

    /// The most bytes of messages that a batch is to carry; beyond the first packet, which goes in any case.
    pub(crate) fn bytes(&self, mtu: usize) -> usize {
        let cap = self.cap(mtu);
        if cap == WHOLE { usize::MAX } else { usize::try_from(cap).unwrap_or(usize::MAX) }
    }

    fn cap(&self, mtu: usize) -> u64 {
        let message = mtu.saturating_add(TRANSPORT_OVERHEAD) as u64;
        let least = message.saturating_mul(2).min(WHOLE);
        let rate = self.0.and_then(|pressure| pressure.rate);
        rate.map_or(WHOLE, |rate| (rate / 1000).clamp(least, WHOLE))
    }
}

/// The time from one instant to another, none if that is earlier.
fn since(from: Instant, to: Instant) -> Duration {
    Duration::from_nanos(to.as_nanos().saturating_sub(from.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: usize = 1420;
    const LEAST: usize = 2 * (1420 + 32);

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1000)
    }

    /// A socket with a buffer before a link, and a sender that always has more: it sends batches as large as it may until the
    /// socket would block, and goes on when half of the buffer is free, as Linux has it.
    struct Link {
        /// Bytes in a microsecond times 1000, the buffer, and how much memory a byte takes, in halves.
        rate: u64,
        buffer: u64,
        memory: u64,
        queued: u64,
        blocked: bool,
        looks: u64,
        cap: BurstCap,
    }

    impl Link {
        fn new(megabits: u64, buffer: u64, memory: u64) -> Self {
            let cap = BurstCap::default();
            Self { rate: megabits * 125, buffer, memory, queued: 0, blocked: false, looks: 0, cap }
        }

        fn held(&self) -> u64 {
            self.queued * self.memory / 2
        }

        fn run(&mut self, micros: core::ops::Range<u64>, offered: u64) {
            for now in micros {
                self.queued =
                    self.queued.saturating_sub(self.rate * (now + 1) / 1000 - self.rate * now / 1000);
                self.blocked &= self.held() > self.buffer / 2;
                // What the sender has in this microsecond.
                let mut rest = offered;
                while rest > 0 && !self.blocked {
                    if self.cap.is_due(at(now)) {
                        self.look(now);
                    }
                    let batch = (self.cap.bytes(MTU).min(1 << 16) as u64).min(rest);
                    if self.held() + batch * self.memory / 2 > self.buffer {
                        self.blocked = true;
                        if self.cap.is_due_when_blocked(at(now)) {
                            self.look(now);
                        }
                        break;
                    }
                    self.queued += batch;
                    self.cap.handed(usize::try_from(batch).unwrap(), at(now));
                    rest -= batch;
                }
            }
        }

        fn look(&mut self, now: u64) {
            self.looks += 1;
            self.cap.look(usize::try_from(self.held()).unwrap(), MTU, at(now));
        }
    }

    #[test]
    fn without_pressure_a_batch_is_whole_and_nobody_looks() {
        // Half of what the link takes.
        let mut link = Link::new(1000, 1 << 20, 2);
        link.run(0..200_000, 62);
        assert_eq!((link.cap.bytes(MTU), link.looks), (usize::MAX, 0));
    }

    #[test]
    fn batch_is_a_millisecond_of_a_slow_link() {
        for memory in [2, 3] {
            for megabits in [25, 50, 100, 200, 400] {
                let mut link = Link::new(megabits, 1 << 20, memory);
                link.run(0..1_000_000, 1 << 18);
                let millisecond = usize::try_from(megabits * 125).unwrap();
                let cap = link.cap.bytes(MTU);
                let most = millisecond * usize::try_from(memory).unwrap() / 2;
                assert!(
                    (millisecond * 9 / 10..=most * 11 / 10).contains(&cap),
                    "{megabits} Mbit/s, {memory}/2: {cap}"
                );
                assert!(link.looks <= 1000, "{}", link.looks);
            }
        }
    }

    #[test]
    fn cap_has_two_packets_and_a_whole_batch_as_its_ends() {
        for (megabits, expected) in [(5, LEAST), (10, LEAST), (2000, usize::MAX)] {
            let mut link = Link::new(megabits, 1 << 20, 2);
            link.run(0..2_000_000, 1 << 18);
            assert_eq!(link.cap.bytes(MTU), expected, "{megabits}");
        }
        for (mtu, expected) in [(0, 64), (1420, LEAST), (65_535, usize::MAX), (usize::MAX, usize::MAX)] {
            let mut cap = BurstCap::default();
            cap.look(1 << 20, mtu, at(0));
            cap.look(1 << 20, mtu, at(1000));
            assert_eq!(cap.bytes(mtu), expected);
        }
    }

    #[test]
    fn pressure_ends_when_little_is_held() {
        let mut link = Link::new(100, 1 << 20, 2);
        link.run(0..300_000, 1 << 18);
        assert!(link.cap.bytes(MTU) < 1 << 14);
        // The sender has less than the link takes. The buffer empties in 42 to 84 ms.
        link.run(300_000..400_000, 1);
        let looks = link.looks;
        link.run(400_000..500_000, 1);
        assert_eq!((link.cap.bytes(MTU), link.looks), (usize::MAX, looks), "nobody looks any more");
    }

    #[test]
    fn link_that_becomes_faster_or_slower_is_followed() {
        let mut link = Link::new(50, 1 << 20, 2);
        let mut now = 0;
        for megabits in [50, 300, 80] {
            link.rate = megabits * 125;
            link.run(now..now + 2_000_000, 1 << 18);
            now += 2_000_000;
            let millisecond = usize::try_from(megabits * 125).unwrap();
            let cap = link.cap.bytes(MTU);
            assert!((millisecond * 4 / 5..=millisecond * 6 / 5).contains(&cap), "{megabits}: {cap}");
        }
    }

    #[test]
    fn growth_and_silence_say_nothing_of_the_rate() {
        let mut cap = BurstCap::default();
        cap.look(1 << 19, MTU, at(0));
        // As memory it is twice as much.
        cap.handed(1 << 18, at(2_000));
        cap.look(1 << 20, MTU, at(2_000));
        assert_eq!(cap.bytes(MTU), usize::MAX);
        // Compared with the first look: 5,000 bytes a millisecond.
        cap.look((1 << 19) + (1 << 18) - 200_000, MTU, at(40_000));
        assert_eq!(cap.bytes(MTU), 5_000);
        // There was nothing to send for a second.
        cap.handed(1 << 20, at(1_020_000));
        cap.look((1 << 19) + (1 << 18) - 200_000, MTU, at(1_020_000));
        assert_eq!(cap.bytes(MTU), 5_000);
        cap.look((1 << 19) + (1 << 18) - 205_000, MTU, at(1_021_000));
        assert_eq!(cap.bytes(MTU), 5_000);
    }

    #[test]
    fn clocks_that_go_back_and_absurd_numbers_do_no_harm() {
        let mut cap = BurstCap::default();
        let mut number = 1_u64;
        for _ in 0..10_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = usize::try_from(number >> (number % 64)).unwrap_or(usize::MAX);
            match number >> 61 {
                0 => cap.handed(value, Instant::from_nanos(number)),
                1 => cap = BurstCap::default(),
                _ => cap.look(value, MTU, Instant::from_nanos(number.rotate_left(17) >> (number % 50))),
            }
            let bytes = cap.bytes(MTU);
            assert!((LEAST..1 << 16).contains(&bytes) || bytes == usize::MAX, "{bytes}");
        }
    }
}
