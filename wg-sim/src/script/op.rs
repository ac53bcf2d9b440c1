//! One thing that happens, from a table: name, parts, what it does.

use core::fmt;

use super::bytes::Bytes;
use super::field::{Field, choice};
use crate::clock::WhichClock;

/// What a link does to the datagrams on it. The number that goes with it is explained beside each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing any more: 10 ms of delay, and no number.
    None,
    /// Delay, in milliseconds.
    Delay,
    /// Delay on top, drawn anew for each datagram, in milliseconds at most: they overtake each other.
    Jitter,
    /// Loss of each on its own, per mille.
    Loss,
    /// Bursts of loss (Gilbert-Elliott): how many per mille begin one. In a burst, half get lost, and it ends with one in ten.
    Burst,
    /// Duplication, per mille; each copy fares on its own.
    Duplicate,
    /// Reordering: how many others overtake the one that is held back, of which there is one in eight.
    Reorder,
    /// Corruption, per mille: from one bit to all bytes, and lengths.
    Corrupt,
    /// The longest datagram that passes; 0 for no bound.
    Mtu,
    /// Nothing passes (1), or everything again (0).
    Cut,
}

impl Fault {
    pub(super) const ALL: &'static [(Self, &'static str)] = &[
        (Self::None, "none"),
        (Self::Delay, "delay"),
        (Self::Jitter, "jitter"),
        (Self::Loss, "loss"),
        (Self::Burst, "burst"),
        (Self::Duplicate, "duplicate"),
        (Self::Reorder, "reorder"),
        (Self::Corrupt, "corrupt"),
        (Self::Mtu, "mtu"),
        (Self::Cut, "cut"),
    ];
}

choice!(Fault);

/// What the adversary makes from nothing but public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Random bytes of any length.
    Junk,
    /// An initiation of random bytes, its MAC1 wrong.
    WrongMac1,
    /// An initiation of random bytes, its MAC1 right.
    RightMac1,
    /// A whole initiation of somebody who is no peer.
    Stranger,
    /// A response to the newest handshake seen, of random bytes, its MAC1 right.
    Response,
    /// A cookie reply to the newest handshake seen, of random bytes.
    CookieReply,
    /// Data for the newest session seen, with a counter far ahead and a wrong tag.
    Data,
}

impl Forgery {
    pub(super) const ALL: &'static [(Self, &'static str)] = &[
        (Self::Junk, "junk"),
        (Self::WrongMac1, "wrong-mac1"),
        (Self::RightMac1, "right-mac1"),
        (Self::Stranger, "stranger"),
        (Self::Response, "response"),
        (Self::CookieReply, "cookie-reply"),
        (Self::Data, "data"),
    ];
}

choice!(Forgery);

macro_rules! ops {
    ($($(#[doc = $doc:literal])+ $op:ident, $name:literal $({ $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty),+ })?;)+) => {
        /// One thing that happens in a run. Hosts are taken modulo their number; what cannot be is nothing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op {
            $($(#[doc = $doc])+ $op $({ $($(#[doc = $field_doc])+ $field: $type),+ })?,)+
        }

        impl Op {
            /// How many kinds there are.
            pub(super) const KINDS: usize = [$($name),+].len();

            /// Returns its name in the text form.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$op { .. } => $name,)+
                }
            }

            pub(super) fn parse<'a>(name: &str, words: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
                match name {
                    $($name => Some(Self::$op $({ $($field: Field::parse(words.next()?)?),+ })?),)+
                    _ => None,
                }
            }

            pub(super) fn decode(kind: usize, bytes: &mut Bytes<'_>) -> Self {
                let mut at = kind % Self::KINDS;
                $(
                    if at == 0 {
                        return Self::$op $({ $($field: Field::decode(bytes)),+ })?;
                    }
                    at -= 1;
                )+
                let _all_were_tried = at;
                Self::Heal
            }

            pub(super) fn encode(&self, out: &mut Vec<u8>) {
                let names = [$($name),+];
                let kind = names.iter().position(|name| *name == self.name());
                out.push(kind.and_then(|kind| u8::try_from(kind).ok()).unwrap_or(0));
                match *self {
                    $(Self::$op $({ $($field),+ })? => { $($($field.encode(out);)+)? })+
                }
            }

            /// Returns operations that differ in one part and are simpler, the simplest first.
            #[must_use]
            pub fn simpler(&self) -> Vec<Self> {
                match *self {
                    $(Self::$op $({ $($field),+ })? => ops!(@simpler $op $({ $($field),+ })?),)+
                }
            }

            fn words(&self) -> Vec<String> {
                match *self {
                    $(Self::$op $({ $($field),+ })? => vec![$($($field.print()),+)?],)+
                }
            }
        }
    };
    (@simpler $op:ident) => { Vec::new() };
    (@simpler $op:ident { $($field:ident),+ }) => {{
        let mut all = Vec::new();
        ops!(@each all $op { $($field),+ } $($field),+);
        all
    }};
    (@each $all:ident $op:ident $fields:tt $($field:ident),+) => {
        $(
            for value in $field.simpler() {
                $all.push(ops!(@with $op $fields $field value));
            }
        )+
    };
    (@with $op:ident { $($each:ident),+ } $field:ident $value:ident) => {{
        let mut changed = Self::$op { $($each),+ };
        if let Self::$op { $field, .. } = &mut changed {
            *$field = $value;
        }
        changed
    }};
}

ops! {
    /// A host sends packets to another.
    Send, "send" {
        /// The sender.
        from: u8,
        /// The receiver.
        to: u8,
        /// How many.
        count: u16,
        /// Their length; 0 for all lengths from 0 to 1420, drawn.
        size: u16
    };
    /// Time passes, and all that is due in it happens.
    Advance, "advance" {
        /// How much.
        millis: u32
    };
    /// A host sends packets at a steady pace.
    Stream, "stream" {
        /// The sender.
        from: u8,
        /// The receiver.
        to: u8,
        /// How many.
        count: u16,
        /// The time between two, in microseconds.
        micros: u32
    };
    /// A host is busy with other things: nobody polls it, datagrams wait in its socket.
    Late, "late" {
        /// The host.
        host: u8,
        /// How long.
        millis: u32
    };
    /// A host sleeps: nobody polls it, datagrams to it are lost.
    Suspend, "suspend" {
        /// The host.
        host: u8,
        /// How long.
        millis: u32,
        /// Whether its monotonic clock counts that time.
        counts: bool
    };
    /// A link behaves differently from now on, in one direction.
    Link, "link" {
        /// Where it begins.
        from: u8,
        /// Where it ends.
        to: u8,
        /// In which way.
        fault: Fault,
        /// How much.
        amount: u16
    };
    /// The NAT in front of a host gives it another address.
    Rebind, "rebind" {
        /// The host.
        host: u8,
        /// Whether the old mapping is gone at once.
        dies: bool
    };
    /// The process of a host begins anew.
    Restart, "restart" {
        /// The host.
        host: u8
    };
    /// A clock of a host jumps.
    Step, "step" {
        /// The host.
        host: u8,
        /// Which clock.
        clock: WhichClock,
        /// How far ahead, or back.
        seconds: i64
    };
    /// A clock of a host stands still, or runs again.
    Stop, "stop" {
        /// The host.
        host: u8,
        /// Which clock.
        clock: WhichClock,
        /// Whether it stands still.
        stop: bool
    };
    /// The clocks of a host are put right.
    Correct, "correct" {
        /// The host.
        host: u8
    };
    /// The entropy of a host fails, or works again.
    Entropy, "entropy" {
        /// The host.
        host: u8,
        /// Whether it fails.
        broken: bool
    };
    /// The adversary records what passes, or no longer.
    Record, "record" {
        /// Whether it does.
        on: bool
    };
    /// The adversary sends a datagram again that it recorded.
    Replay, "replay" {
        /// Which, modulo their number.
        record: u16,
        /// From which address: 0 for that of its sender, else one of the adversary's.
        source: u8
    };
    /// The adversary sends the beginning of a datagram.
    Truncate, "truncate" {
        /// Which.
        record: u16,
        /// To how many bytes.
        len: u16
    };
    /// The adversary sends a datagram with random bytes behind it.
    Extend, "extend" {
        /// Which.
        record: u16,
        /// How many.
        by: u16
    };
    /// The adversary sends the head of one datagram with the tail of another.
    Splice, "splice" {
        /// The one.
        head: u16,
        /// The other.
        tail: u16,
        /// Where they are joined.
        at: u16
    };
    /// The adversary sends a datagram with one bit changed.
    Flip, "flip" {
        /// Which.
        record: u16,
        /// The bit, modulo their number.
        bit: u16
    };
    /// The adversary sends something of its own.
    Forge, "forge" {
        /// To whom.
        host: u8,
        /// What.
        what: Forgery,
        /// How many, one a millisecond.
        count: u16
    };
    /// A host gets another private key, and back.
    Key, "key" {
        /// The host.
        host: u8,
        /// Which; 0 is the one that others know, and 255 is none.
        which: u8
    };
    /// A host gets another pre-shared key for a peer.
    Psk, "psk" {
        /// The host.
        host: u8,
        /// The peer.
        peer: u8,
        /// Which; 0 is none.
        which: u8
    };
    /// A host is told where a peer is.
    Endpoint, "endpoint" {
        /// The host.
        host: u8,
        /// The peer.
        peer: u8,
        /// Whether that is true.
        right: bool
    };
    /// A host is told to keep a NAT mapping alive.
    Keepalive, "keepalive" {
        /// The host.
        host: u8,
        /// The peer.
        peer: u8,
        /// The interval; 0 for none.
        seconds: u8
    };
    /// A host adds a peer, or removes it.
    Know, "know" {
        /// The host.
        host: u8,
        /// The peer.
        peer: u8,
        /// Whether it adds it.
        add: bool
    };
    /// A host allows an inner address for a peer, or no longer.
    Allow, "allow" {
        /// The host.
        host: u8,
        /// The peer.
        peer: u8,
        /// Whose inner address.
        whose: u8,
        /// Whether it is allowed.
        allow: bool
    };
    /// The interface of a host goes up or down.
    Up, "up" {
        /// The host.
        host: u8,
        /// Whether up.
        up: bool
    };
    /// The inner MTU of a host changes.
    Mtu, "mtu" {
        /// The host.
        host: u8,
        /// To what; 0 for none known.
        mtu: u16
    };
    /// A host wipes its keys.
    Zero, "zero" {
        /// The host.
        host: u8
    };
    /// A host hears that its state may run twice.
    Generation, "generation" {
        /// The host.
        host: u8
    };
    /// A host is under load, or no longer.
    Load, "load" {
        /// The host.
        host: u8,
        /// Whether it is.
        under: bool
    };
    /// A host asks for a handshake.
    Initiate, "initiate" {
        /// The host.
        host: u8,
        /// The peer.
        peer: u8
    };
    /// The counter of a host's session moves to the limit at which a new one is asked for, or the one where it ends.
    Exhaust, "exhaust" {
        /// The host.
        host: u8,
        /// The peer.
        peer: u8,
        /// Whether to the last limit.
        last: bool,
        /// How many packets before it.
        before: u16
    };
    /// A host sends a packet every 100 ms until one arrives, which must be soon (I10).
    Reach, "reach" {
        /// The sender.
        from: u8,
        /// The receiver.
        to: u8,
        /// How soon.
        millis: u32
    };
    /// Nothing is sent, and two hosts must both have completed a handshake soon (I10).
    Settle, "settle" {
        /// The one.
        one: u8,
        /// The other.
        other: u8,
        /// How soon.
        millis: u32
    };
    /// All faults end: links, clocks, entropy, configuration are as at first.
    Heal, "heal";
    /// The next datagrams of a session that come to a host have a copy behind them, in the same call of its socket.
    Twin, "twin" {
        /// The host.
        host: u8,
        /// How many.
        count: u16,
        /// From which address the copies come: 0 for that of the sender, else one of the adversary's.
        source: u8
    };
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.words().iter().try_for_each(|word| write!(f, " {word}"))
    }
}
