//! Every datagram that a node sent, for as long as a copy of it is somewhere: what it is, and what became of it.

use crate::clock::Time;
use crate::report::Counts;

/// What kind of message a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Initiation,
    Response,
    CookieReply,
    Keepalive,
    Data,
}

/// What became of a datagram with a packet in it. Of the fates of its copies the last in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    InFlight,
    LostOnWire,
    LostOnTheWay,
    LostAtSleeper,
    Corrupted,
    Configuration,
    Restarted,
    Superseded,
    Expired,
    TooOld,
    Delivered,
}

impl Fate {
    pub(crate) const fn counter(self, counts: &mut Counts) -> &mut u64 {
        match self {
            Self::InFlight => &mut counts.in_flight,
            Self::LostOnWire => &mut counts.lost_on_wire,
            Self::LostOnTheWay => &mut counts.lost_on_the_way,
            Self::LostAtSleeper => &mut counts.lost_at_sleeper,
            Self::Corrupted => &mut counts.corrupted,
            Self::Configuration => &mut counts.refused_by_configuration,
            Self::Restarted => &mut counts.refused_after_restart,
            Self::Superseded => &mut counts.refused_superseded,
            Self::Expired => &mut counts.refused_expired,
            Self::TooOld => &mut counts.refused_too_old,
            Self::Delivered => &mut counts.delivered,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram {
    pub(crate) kind: Kind,
    /// Who sent it.
    pub(crate) origin: u8,
    /// Whom it is for, if its key or index says.
    pub(crate) intended: Option<u8>,
    pub(crate) emitted: Time,
    /// Its number among all that were sent.
    pub(crate) number: u64,
    /// The receiver's index, or that of an initiation's sender.
    pub(crate) index: u32,
    /// The index of a response's sender.
    pub(crate) sender_index: u32,
    pub(crate) counter: u64,
    /// Copies that the network carries.
    pub(crate) copies: u32,
    /// Places where the adversary has it.
    pub(crate) held: u32,
    pub(crate) fate: Fate,
    /// Whether its fate was counted.
    pub(crate) counted: bool,
    /// Where a copy came to before.
    pub(crate) arrived: Option<u8>,
    /// Who took it, and how often that host had begun anew by then.
    pub(crate) accepted: Option<(u8, u32)>,
}

/// All of them, by place; places are used again.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    places: Vec<Datagram>,
    free: Vec<u32>,
}

impl Datagrams {
    pub(crate) fn insert(&mut self, datagram: Datagram) -> u32 {
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = datagram;
            return place;
        }
        self.places.push(datagram);
        u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn get(&mut self, place: u32) -> &mut Datagram {
        &mut self.places[place as usize]
    }

    /// A copy met its end, with this fate. What is nowhere any more is counted.
    pub(crate) fn copy_done(&mut self, place: u32, fate: Fate, counts: &mut Counts) {
        let datagram = self.get(place);
        datagram.copies -= 1;
        Self::learn(datagram, fate, counts);
        self.settle(place, counts);
    }

    /// A copy that the adversary had sent met its end.
    pub(crate) fn replay_done(&mut self, place: u32, fate: Fate, counts: &mut Counts) {
        let datagram = self.get(place);
        datagram.held -= 1;
        if fate == Fate::Delivered {
            Self::learn(datagram, fate, counts);
        }
        self.settle(place, counts);
    }

    fn learn(datagram: &mut Datagram, fate: Fate, counts: &mut Counts) {
        if fate > datagram.fate {
            if datagram.counted && datagram.kind == Kind::Data {
                *datagram.fate.counter(counts) -= 1;
                *fate.counter(counts) += 1;
            }
            datagram.fate = fate;
        }
    }

    fn settle(&mut self, place: u32, counts: &mut Counts) {
        let datagram = self.get(place);
        if datagram.copies == 0 && !datagram.counted {
            datagram.counted = true;
            if datagram.kind == Kind::Data {
                *datagram.fate.counter(counts) += 1;
            }
        }
        if datagram.copies == 0 && datagram.held == 0 {
            self.free.push(place);
        }
    }
}
