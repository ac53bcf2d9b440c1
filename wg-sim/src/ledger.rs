//! Delivered packets: whose they are, that they were sent, that they come once, and in which order (I2).

use crate::packet::Identity;

/// The packets of one host to another.
#[derive(Clone, Debug, Default)]
struct Flow {
    sent: u64,
    /// One bit for each number.
    delivered: Vec<u64>,
    count: u64,
    /// The number that the next in order must not be below.
    next: u64,
    /// The datagram of this flow's sender that came latest, in the order of sending.
    newest_datagram: u64,
}

/// All flows.
#[derive(Debug)]
pub(crate) struct Ledger {
    hosts: usize,
    flows: Vec<Flow>,
}

impl Ledger {
    pub(crate) fn new(hosts: usize) -> Self {
        Self { hosts, flows: vec![Flow::default(); hosts * hosts] }
    }

    fn flow(&mut self, from: u8, to: u8) -> &mut Flow {
        &mut self.flows[usize::from(from) * self.hosts + usize::from(to)]
    }

    /// Returns the number of the next packet of a flow.
    pub(crate) fn send(&mut self, from: u8, to: u8) -> u64 {
        let flow = self.flow(from, to);
        flow.sent += 1;
        flow.sent - 1
    }

    pub(crate) fn sent(&mut self, from: u8, to: u8) -> u64 {
        self.flow(from, to).sent
    }

    pub(crate) fn delivered(&mut self, from: u8, to: u8) -> u64 {
        self.flow(from, to).count
    }

    /// Tells whether packet `number` of a flow was delivered, or a later one.
    pub(crate) fn delivered_from(&mut self, from: u8, to: u8, number: u64) -> bool {
        self.flow(from, to).next > number
    }

    /// A packet was delivered. If it was to whom it is for, `datagram` is the number of the datagram that it came in, by the
    /// order of sending.
    pub(crate) fn deliver(&mut self, packet: Identity, datagram: Option<u64>) -> Result<(), String> {
        let Identity { from, to, number } = packet;
        if usize::from(from.max(to)) >= self.hosts {
            return Err(format!("{packet:?} is of no host"));
        }
        let flow = self.flow(from, to);
        if number >= flow.sent {
            return Err(format!("{packet:?} was never sent"));
        }
        let word = usize::try_from(number / 64).unwrap_or(usize::MAX);
        if flow.delivered.len() <= word {
            flow.delivered.resize(word + 1, 0);
        }
        let bit = 1 << (number % 64);
        if flow.delivered[word] & bit != 0 {
            return Err(format!("{packet:?} came twice"));
        }
        flow.delivered[word] |= bit;
        flow.count += 1;
        let Some(datagram) = datagram else { return Ok(()) };
        // One that the wire let others overtake may come late; any other must not.
        if datagram > flow.newest_datagram {
            flow.newest_datagram = datagram;
            if number < flow.next {
                return Err(format!("{packet:?} came behind {}, and was not overtaken", flow.next - 1));
            }
        }
        flow.next = flow.next.max(number + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_or_comes_twice_or_out_of_order_is_told() {
        let mut ledger = Ledger::new(2);
        let packet = |number| Identity { from: 0, to: 1, number };
        assert!(ledger.deliver(packet(0), Some(1)).is_err(), "never sent");
        for number in 0..200 {
            assert_eq!(ledger.send(0, 1), number);
        }
        assert_eq!(ledger.deliver(packet(5), Some(6)), Ok(()));
        assert!(ledger.deliver(packet(5), Some(7)).is_err(), "twice");
        assert_eq!(ledger.deliver(packet(3), Some(4)), Ok(()), "overtaken on the wire");
        assert!(ledger.deliver(packet(4), Some(9)).is_err(), "out of order");
        assert_eq!(ledger.deliver(packet(130), Some(10)), Ok(()));
        assert!(ledger.deliver(Identity { from: 1, to: 2, number: 0 }, Some(11)).is_err(), "no such host");
        assert!(
            ledger.deliver(Identity { from: 1, to: 0, number: 0 }, Some(11)).is_err(),
            "the other direction"
        );
        assert_eq!((ledger.sent(0, 1), ledger.delivered(0, 1)), (200, 4));
    }
}
