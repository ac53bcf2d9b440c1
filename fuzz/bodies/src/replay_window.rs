//! Any sequence of counters through the replay window, beside the set of all counters seen (C77, C78).

use std::collections::HashSet;

use wg_proto::{ReplayWindow, Replayed};

use crate::input::Input;

/// How far behind the newest a counter may be.
const WIDTH: u64 = 8128;

/// Feeds counters near each other, near the edges of the window, and anywhere.
///
/// # Panics
///
/// If the window and the set disagree, or a mere look moves the window.
pub fn replay_window(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut window, mut seen) = (ReplayWindow::new(), HashSet::new());
    let mut newest: Option<u64> = None;
    let mut last = 0_u64;
    for _ in 0..2000 {
        if input.is_empty() {
            break;
        }
        let base = newest.unwrap_or(0);
        let counter = match input.below(8) {
            0 => base.saturating_add(1),
            1 => base.saturating_add(u64::from(input.byte())),
            2 => base.saturating_add(u64::from(input.u16())),
            3 => base.saturating_sub(u64::from(input.byte())),
            4 => base.saturating_sub(u64::from(input.u16()) % (WIDTH + 130)),
            5 => last,
            // One to either side of the edge.
            6 => base.saturating_sub(WIDTH - 1 + u64::from(input.below(3))),
            _ => input.u64(),
        };
        last = counter;
        let too_old = newest.is_some_and(|newest| newest > counter && newest - counter > WIDTH);
        let expected = !too_old && counter != u64::MAX && !seen.contains(&counter);
        let before = window.clone();
        let looked = window.check(counter);
        assert!(window == before, "a look moves nothing");
        assert!(counter == u64::MAX || looked.is_ok() == expected, "check of {counter} at {newest:?}");
        let committed = window.commit(counter);
        assert_eq!(committed.is_ok(), expected, "commit of {counter} at {newest:?}");
        if expected {
            seen.insert(counter);
            newest = newest.max(Some(counter));
            assert_eq!(window.check(counter), Err(Replayed));
        } else {
            assert!(window == before, "what is refused moves nothing");
        }
    }
}
