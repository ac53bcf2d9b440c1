//! The limiter by its rule: a source has twenty tokens a second and five at once, a place is free a second after its last
//! use, and without a free place a new source is refused (C113).

use core::net::IpAddr;
use core::time::Duration;
use std::collections::HashMap;

use wg_proto::Instant;

const FULL: u64 = 250_000_000;
const COST: u64 = 50_000_000;

pub(crate) struct Buckets {
    places: usize,
    of: HashMap<IpAddr, (Instant, u64)>,
}

impl Buckets {
    pub(crate) fn new(places: usize) -> Self {
        Self { places, of: HashMap::new() }
    }

    /// Takes a token of a source, if there is one and a place.
    pub(crate) fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        let source = match source {
            IpAddr::V4(_) => source,
            // The upper half is the source.
            IpAddr::V6(addr) => IpAddr::from((addr.to_bits() >> 64 << 64).to_be_bytes()),
        };
        let busy = |last: Instant| now.saturating_duration_since(last) <= Duration::from_secs(1);
        let known = self.of.get(&source).copied().filter(|(last, _)| busy(*last));
        if known.is_none() && self.of.values().filter(|(last, _)| busy(*last)).count() >= self.places {
            return false;
        }
        let (last, tokens) = known.unwrap_or((now, FULL));
        let earned = u64::try_from(now.saturating_duration_since(last).as_nanos()).unwrap_or(u64::MAX);
        let tokens = tokens.saturating_add(earned).min(FULL);
        let left = tokens.checked_sub(COST);
        self.of.insert(source, (now, left.unwrap_or(tokens)));
        left.is_some()
    }
}
