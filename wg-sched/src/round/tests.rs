//! The bounds of a drain.

extern crate std;

use std::collections::VecDeque;
use std::vec::Vec;

use super::*;
use crate::inline::Inline;
use crate::strategy::Strategy;
use crate::topology::CoreId;

/// A home with batches that were done elsewhere, and datagrams that wait. Batches are packets and a number.
#[derive(Default)]
struct Home {
    done: VecDeque<(u32, u32)>,
    datagrams: VecDeque<(u32, u32)>,
    /// The numbers of what was sent, and of what was taken in.
    trace: Vec<(&'static str, u32)>,
}

impl CoreIo for Home {
    type Batch = (u32, u32);

    fn poll_udp(&mut self) -> Option<(u32, u32)> {
        let batch = self.datagrams.pop_front()?;
        self.trace.push(("taken", batch.1));
        Some(batch)
    }
    fn poll_tun(&mut self) -> Option<(u32, u32)> {
        None
    }
    fn packets(&self, batch: &(u32, u32)) -> u32 {
        batch.0
    }
    fn crypt(&mut self, _: &mut [(u32, u32)]) {}
    fn send_tun(&mut self, batch: (u32, u32)) {
        self.trace.push(("sent", batch.1));
    }
    fn send_udp(&mut self, batch: (u32, u32)) {
        self.trace.push(("sent", batch.1));
    }
    fn poll_control(&mut self) -> bool {
        false
    }
    fn drain(&mut self) -> Option<(Direction, (u32, u32))> {
        self.done.pop_front().map(|batch| (Direction::Out, batch))
    }
}

fn home(packets: u32, batches: u32) -> Home {
    Home { done: (0..batches).map(|number| (packets, number)).collect(), ..Home::default() }
}

#[test]
fn a_drain_ends_after_its_packets_and_goes_on_where_it_ended() {
    let mut home = home(1, 150);
    assert_eq!([(); 4].map(|()| drain(&mut home)), [64, 64, 22, 0]);
    let sent: Vec<_> = home.trace.iter().map(|(_, number)| *number).collect();
    assert_eq!(sent, (0..150).collect::<Vec<_>>());
}

#[test]
fn what_a_drain_sends_is_counted_in_packets_and_an_empty_batch_is_one() {
    // The one that reaches the bound is the last.
    assert_eq!(drain(&mut home(48, 9)), 2);
    assert_eq!(drain(&mut home(1000, 9)), 1);
    assert_eq!(drain(&mut home(0, 150)), 64);
}

#[test]
fn others_have_their_turn_between_two_drains() {
    // However much is done, what comes in does not wait for all of it.
    let mut home = home(1, 1000);
    home.datagrams = (5000..5010).map(|number| (1, number)).collect();
    Inline::new().step(CoreId(0), Budget { batches: 1, packets: u32::MAX }, &mut home);
    let before = home.trace.iter().position(|(what, _)| *what == "taken");
    assert_eq!(before, Some(64));
    assert!(home.trace.contains(&("taken", 5009)));
    let left = home.done.len();
    assert_eq!(left, 1000 - 64);
    Inline::new().step(CoreId(0), Budget { batches: 1, packets: u32::MAX }, &mut home);
    assert_eq!(home.done.len(), left - 64, "the next turn goes on");
}
