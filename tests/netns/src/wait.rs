//! Waiting for a state of the world, never for a length of time.

use core::time::Duration;

use std::time::Instant;

/// Looks at `condition` until it holds or `limit` has passed; tells whether it held.
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Looks until `look` finds something or `limit` has passed.
pub fn find<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let mut found = None;
    until(limit, || {
        found = look();
        found.is_some()
    });
    found
}
