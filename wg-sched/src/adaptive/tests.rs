extern crate std;

use std::collections::VecDeque;
use std::vec::Vec;

use super::*;
use crate::io::Ticket;

/// Packets of a batch.
const PACKETS: u32 = 16;

/// A home whose helpers all sleep. A batch is its number.
#[derive(Default)]
struct Home {
    next: u32,
    /// How many batches wait in its socket.
    waiting: u32,
    offers: VecDeque<u32>,
    /// What is done, in any order, and the first that was not sent.
    done: Vec<u32>,
    sent: u32,
    /// By call: how many helpers.
    calls: Vec<u32>,
}

impl CoreIo for Home {
    type Batch = u32;

    fn poll_udp(&mut self) -> Option<u32> {
        self.waiting = self.waiting.checked_sub(1)?;
        self.next += 1;
        Some(self.next - 1)
    }
    fn poll_tun(&mut self) -> Option<u32> {
        None
    }
    fn packets(&self, _: &u32) -> u32 {
        PACKETS
    }
    fn bytes(&self, _: &u32) -> u32 {
        PACKETS * 1420
    }
    fn polled(&self) -> u32 {
        self.next * PACKETS
    }
    fn crypt(&mut self, _: &mut [u32]) {}
    fn send_tun(&mut self, _: u32) {}
    fn send_udp(&mut self, _: u32) {}
    fn poll_control(&mut self) -> bool {
        false
    }
    fn begin(&mut self, batch: &u32, _: Direction) -> Option<Ticket> {
        Some(Ticket { home: 0, place: *batch })
    }
    fn room(&self) -> u32 {
        100 - self.pending()
    }
    fn pending(&self) -> u32 {
        self.next - self.sent
    }
    fn is_head(&self, ticket: Ticket) -> bool {
        ticket.place == self.sent
    }
    fn offer(&mut self, _: Ticket, batch: u32) -> Result<(), (Ticket, u32)> {
        self.offers.push_back(batch);
        Ok(())
    }
    fn reclaim(&mut self) -> Option<(Ticket, u32)> {
        let batch = self.offers.pop_front()?;
        Some((Ticket { home: 0, place: batch }, batch))
    }
    fn reclaim_newest(&mut self) -> Option<(Ticket, u32)> {
        let batch = self.offers.pop_back()?;
        Some((Ticket { home: 0, place: batch }, batch))
    }
    fn call(&mut self, helpers: u32) {
        self.calls.push(helpers);
    }
    fn complete(&mut self, _: Ticket, batch: u32) {
        self.done.push(batch);
    }
    fn drain(&mut self) -> Option<(Direction, u32)> {
        let at = self.done.iter().position(|batch| *batch == self.sent)?;
        self.sent += 1;
        Some((Direction::In, self.done.swap_remove(at)))
    }
}

#[test]
fn somebody_is_called_for_what_earlier_rounds_left() {
    // What three batches save is worth a call, and no less is. The first round keeps two of four.
    let costs = Costs { wake: 12_000, ..Costs::REFERENCE };
    assert_eq!([2, 3].map(|batches| costs.helpers(batches * PACKETS, batches * PACKETS * 1420)), [0, 1]);
    for (each, expected) in [(1, &[][..]), (2, &[1])] {
        let (mut adaptive, mut home) = (Adaptive::with_costs(costs), Home::default());
        adaptive.helpers = 3;
        for come in core::iter::once(4).chain(core::iter::repeat_n(each, 2)) {
            home.waiting = come;
            adaptive.step(CoreId(0), Budget { batches: 1, ..Budget::default() }, &mut home);
        }
        assert_eq!(home.waiting, 0);
        assert_eq!(home.calls, expected, "{each} more than the one that the home takes back");
    }
}
