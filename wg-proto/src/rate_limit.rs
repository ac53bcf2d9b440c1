//! A bounded token bucket per source: how many handshakes a source with a valid MAC2 may have served under load (C113).
//!
//! Sources are IPv4 addresses and IPv6 /64 networks: whoever holds a /64 holds all of it. Each has 20 a second and a burst
//! of 5. An entry idle for a second is free again; when none is free, new sources are refused, so an attacker can fill the
//! table but not grow it.

use core::net::IpAddr;
use core::time::Duration;

#[cfg(feature = "test-util")]
use crate::fingerprint::Fingerprint;
use crate::limits::{LIMITER_BURST, LIMITER_PER_SECOND};
use crate::time::Instant;

/// What one handshake costs: 50 ms of a second's budget.
const COST: u64 = 1_000_000_000 / LIMITER_PER_SECOND as u64;
/// What a bucket holds at most.
const CAPACITY: u64 = COST * LIMITER_BURST as u64;
/// How long an entry is kept without use.
const IDLE: Duration = Duration::from_secs(1);

/// What is limited: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Source {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::V4(addr.to_bits()),
            IpAddr::V6(addr) => {
                let [a, b, c, d, ..] = addr.segments();
                Self::V6(u64::from(a) << 48 | u64::from(b) << 32 | u64::from(c) << 16 | u64::from(d))
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    source: Source,
    last: Instant,
    /// Nanoseconds of budget.
    tokens: u64,
}

impl Bucket {
    fn idle(&self, now: Instant) -> bool {
        now.abs_diff(self.last) > IDLE
    }
}

/// A limiter for at most `N` sources at a time, without allocation: `40 N` bytes. It is searched from end to end, so
/// `N` is best kept to a few hundred, and many of them used for more.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Debug)]
pub struct RateLimiter<const N: usize> {
    buckets: [Option<Bucket>; N],
}

impl<const N: usize> Default for RateLimiter<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> RateLimiter<N> {
    /// Makes an empty limiter.
    #[must_use]
    pub const fn new() -> Self {
        Self { buckets: [None; N] }
    }

    /// Takes one token of `source` and tells whether there was one.
    pub fn allow(&mut self, source: IpAddr, now: Instant) -> bool {
        let source = Source::from(source);
        let mut free = None;
        for slot in &mut self.buckets {
            match slot {
                Some(bucket) if bucket.source == source && !bucket.idle(now) => {
                    return refill_and_take(bucket, now);
                }
                Some(bucket) if !bucket.idle(now) => {}
                _ => free = free.or(Some(slot)),
            }
        }
        let Some(slot) = free else { return false };
        *slot = Some(Bucket { source, last: now, tokens: CAPACITY.saturating_sub(COST) });
        true
    }

    /// Returns the number of sources held now.
    #[must_use]
    pub fn len(&self, now: Instant) -> usize {
        self.buckets.iter().flatten().filter(|bucket| !bucket.idle(now)).count()
    }

    /// Tells whether no source is held now.
    #[must_use]
    pub fn is_empty(&self, now: Instant) -> bool {
        self.len(now) == 0
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        let now = into.now();
        for bucket in self.buckets.iter().flatten().filter(|bucket| !bucket.idle(now)) {
            into.hashed(&bucket.source);
            into.age(bucket.last, IDLE);
            into.number(bucket.tokens);
        }
    }
}

fn refill_and_take(bucket: &mut Bucket, now: Instant) -> bool {
    let earned = u64::try_from(now.saturating_duration_since(bucket.last).as_nanos()).unwrap_or(u64::MAX);
    bucket.last = bucket.last.max(now);
    bucket.tokens = bucket.tokens.saturating_add(earned).min(CAPACITY);
    match bucket.tokens.checked_sub(COST) {
        Some(rest) => {
            bucket.tokens = rest;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(3_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn five_at_once_then_one_each_fifty_milliseconds() {
        // C113
        let mut limiter = RateLimiter::<4>::new();
        let steps: &[(u64, bool)] = &[
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (49, false),
            (50, true),
            (51, false),
            (100, true),
            (100, false),
            (350, true),
            (350, true),
            (350, true),
            (350, true),
            (350, true),
            (350, false),
        ];
        for (step, &(millis, expected)) in steps.iter().enumerate() {
            assert_eq!(limiter.allow(v4(1), at(millis)), expected, "step {step}");
        }
    }

    #[test]
    fn sustained_rate_is_twenty_per_second() {
        let mut limiter = RateLimiter::<4>::new();
        let served = (0..10_000).filter(|millis| limiter.allow(v4(1), at(*millis))).count();
        assert!((200..=205).contains(&served), "{served}");
    }

    #[test]
    fn ipv6_is_limited_by_network_and_ipv4_by_address() {
        let mut limiter = RateLimiter::<8>::new();
        let v6 = |network: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host]);
        for host in 0..5 {
            assert!(limiter.allow(v6(1, host), at(0)));
        }
        assert!(!limiter.allow(v6(1, 99), at(0)), "the /64 shares one bucket");
        assert!(limiter.allow(v6(2, 0), at(0)));
        assert!(limiter.allow(v4(1), at(0)));
        assert_eq!(limiter.len(at(0)), 3);
    }

    #[test]
    fn full_table_refuses_new_sources_and_keeps_old_ones() {
        let mut limiter = RateLimiter::<2>::new();
        assert!(limiter.allow(v4(1), at(0)));
        assert!(limiter.allow(v4(2), at(500)));
        assert!(!limiter.allow(v4(3), at(900)));
        assert!(limiter.allow(v4(1), at(900)));
        assert!(limiter.allow(v4(3), at(1501)), "the second was idle for more than a second");
        assert!(!limiter.is_empty(at(1501)));
        assert!(limiter.is_empty(at(10_000)));
    }

    #[test]
    fn clock_steps_neither_panic_nor_refill() {
        // C132
        let mut limiter = RateLimiter::<2>::new();
        for _ in 0..5 {
            assert!(limiter.allow(v4(1), at(1000)));
        }
        assert!(!limiter.allow(v4(1), at(0)), "backwards earns nothing");
        assert!(!limiter.allow(v4(1), at(1000)), "and the way back earns nothing either");
        assert!(limiter.allow(v4(1), Instant::from_nanos(u64::MAX)));
    }
}
