//! Every way a packet or datagram can die. A drop is counted once, under one reason, and never silent to us;
//! towards the peer every failure is the same silence.
//!
//! A reason also says who may see its counter. Some counts move when a secret guess was right (a live index,
//! a known key), so publishing them would answer an attacker's question: those are [`Exposure::Oracle`].

use core::fmt;

use wg_proto::wire::ParseError;
use wg_proto::{HandshakeError, InvalidCookieReply, OpenError};

use crate::ip::IpError;

/// Who may see a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Safe to publish.
    Public,
    /// Tells whoever can send datagrams and read the counter something about keys, indices or peers.
    Oracle,
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident, $name:literal, $exposure:ident;)+) => {
        /// Why a packet or datagram was not delivered.
        ///
        /// # Examples
        ///
        /// ```
        /// use wg_datapath::DropReason;
        ///
        /// assert_eq!(DropReason::Replay.name(), "replay");
        /// assert!(DropReason::ALL.contains(&DropReason::Replay));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl DropReason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)+];

            /// A name for metrics: `snake_case`, unique, stable.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }

            /// Whether the counter may be published.
            #[must_use]
            pub const fn exposure(self) -> Exposure {
                match self {
                    $(Self::$reason => Exposure::$exposure,)+
                }
            }
        }
    };
}

drop_reasons! {
    // Inner packets on their way out.
    /// The inner packet is neither IPv4 nor IPv6 (C63).
    OutNotIp, "out_not_ip", Public;
    /// The inner packet is shorter than its header (C63).
    OutTooShort, "out_too_short", Public;
    /// The inner packet is too long to be sealed into one datagram.
    OutTooLong, "out_too_long", Public;
    /// What is left to be done with the frame does not fit its headers.
    OutMalformedFrame, "out_malformed_frame", Public;
    /// The packet is longer than the path to the peer passes, and its sender was told.
    OutTooBig, "out_too_big", Public;
    /// No peer owns the destination address (C64).
    NoPeerForDestination, "no_peer_for_destination", Public;
    /// The peer has no endpoint to send to (C49).
    NoEndpoint, "no_endpoint", Public;
    /// The peer's public key is a low-order point: nothing is ever sent to it (C21).
    LowOrderPeer, "low_order_peer", Public;
    /// The core that the peer belongs to has not yet taken in what was read for it before.
    HomeBehind, "home_behind", Public;
    /// No session, and the staged queue had to make room: the oldest packet went (C70).
    StagedOverflow, "staged_overflow", Public;
    /// Staged when the handshake was given up (C118).
    StagedGiveUp, "staged_give_up", Public;
    /// Staged when the keys were wiped after a long silence (C60).
    StagedZeroed, "staged_zeroed", Public;
    /// Staged when the device went down (C129).
    StagedDown, "staged_down", Public;
    /// Waiting, here or for the socket, when its peer was removed (C137).
    StagedRemoved, "staged_removed", Public;
    /// The device is down.
    DeviceDown, "device_down", Public;
    /// The session ran out between counter and seal.
    SealFailed, "seal_failed", Public;
    /// The queue behind the TUN was full, and this was at its longest flow.
    QueueOverflow, "queue_overflow", Public;
    /// The flow had waited too long in the queue behind the TUN, and had to be told.
    QueueDelay, "queue_delay", Public;
    /// The queue in front of the socket was full.
    SendQueueFull, "send_queue_full", Public;
    /// The socket refused the datagram.
    SendRefused, "send_refused", Public;

    // Datagrams, before anything is known about the sender.
    /// The datagram did not fit the receive buffer (C6).
    Truncated, "truncated", Public;
    /// The datagram came without a source address.
    NoSource, "no_source", Public;
    /// The datagram is shorter than a message type (C6).
    MessageTooShort, "message_too_short", Public;
    /// The message type is unknown or its reserved bytes are not zero (C1).
    UnknownMessageType, "unknown_message_type", Public;
    /// The length is not one of the message type (C2-C5).
    WrongMessageLength, "wrong_message_length", Public;

    // Handshake messages.
    /// There is no private key, so no handshake is accepted (C48).
    NoPrivateKey, "no_private_key", Public;
    /// MAC1 does not match our public key (C105).
    InvalidMac1, "invalid_mac1", Oracle;
    /// MAC2 is missing or wrong under load: a cookie reply went out instead (C106).
    CookieSent, "cookie_sent", Public;
    /// Under load, and no cookie reply could be made.
    CookieFailed, "cookie_failed", Public;
    /// The source used up its tokens (C113).
    RateLimited, "rate_limited", Public;
    /// The handshake queue was full (C72).
    HandshakeQueueFull, "handshake_queue_full", Public;
    /// The initiator's static key belongs to no peer (C47).
    UnknownPeer, "unknown_peer", Oracle;
    /// The initiation's timestamp is not newer than the last (C30).
    OldTimestamp, "old_timestamp", Oracle;
    /// The initiation came too soon after the last (C31).
    InitiationFlood, "initiation_flood", Oracle;
    /// A handshake message did not decrypt.
    HandshakeDecrypt, "handshake_decrypt", Oracle;
    /// A Diffie-Hellman result was zero (C20).
    LowOrderPoint, "low_order_point", Oracle;
    /// A response to no handshake of ours (C37, C38).
    UnexpectedResponse, "unexpected_response", Oracle;
    /// A cookie reply that answers nothing or does not decrypt (C110).
    InvalidCookieReply, "invalid_cookie_reply", Oracle;
    /// The random number generator failed (C27).
    NoEntropy, "no_entropy", Public;

    // Data messages.
    /// The receiver index names nothing (C75).
    UnknownIndex, "unknown_index", Oracle;
    /// The receiver index names a handshake, not a keypair (C75).
    NotASession, "not_a_session", Oracle;
    /// The keypair is too old to receive (C56).
    KeyExpired, "key_expired", Oracle;
    /// The counter is at or past its limit (C58).
    CounterLimit, "counter_limit", Oracle;
    /// The tag is wrong (C26).
    InvalidTag, "invalid_tag", Oracle;
    /// The counter was seen before or left the window (C77).
    Replay, "replay", Oracle;
    /// The keypair was replaced while the message was being opened.
    SessionRetired, "session_retired", Public;

    // Inner packets on their way in.
    /// The decrypted packet is neither IPv4 nor IPv6 (C84).
    InNotIp, "in_not_ip", Public;
    /// The decrypted packet is shorter than its header (C84).
    InTooShort, "in_too_short", Public;
    /// The length field of the decrypted packet is wrong (C80, C84).
    InBadLength, "in_bad_length", Public;
    /// The source address belongs to another peer or to none (C81, C84).
    BadSource, "bad_source", Public;
    /// The TUN device refused the packet.
    TunRefused, "tun_refused", Public;
    /// The queue in front of the TUN device was full.
    TunQueueFull, "tun_queue_full", Public;

    // Either way.
    /// All buffers were in use.
    NoBuffer, "no_buffer", Public;
}

impl DropReason {
    /// The number of the reason: its place in [`DropReason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Why an inner packet could not be sent.
    #[must_use]
    pub const fn outgoing(error: IpError) -> Self {
        match error {
            IpError::NotIp => Self::OutNotIp,
            IpError::TooShort | IpError::BadLength => Self::OutTooShort,
        }
    }

    /// Why a decrypted packet could not be delivered.
    #[must_use]
    pub const fn incoming(error: IpError) -> Self {
        match error {
            IpError::NotIp => Self::InNotIp,
            IpError::TooShort => Self::InTooShort,
            IpError::BadLength => Self::InBadLength,
        }
    }
}

impl From<ParseError> for DropReason {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::TooShort => Self::MessageTooShort,
            ParseError::UnknownType => Self::UnknownMessageType,
            ParseError::WrongLength => Self::WrongMessageLength,
            // A kind of error that is newer than this list is at least counted.
            _ => Self::UnknownMessageType,
        }
    }
}

impl From<HandshakeError> for DropReason {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::LowOrder => Self::LowOrderPoint,
            HandshakeError::Unexpected => Self::UnexpectedResponse,
            HandshakeError::OldTimestamp => Self::OldTimestamp,
            HandshakeError::TooSoon => Self::InitiationFlood,
            HandshakeError::NoKey => Self::NoPrivateKey,
            HandshakeError::Entropy => Self::NoEntropy,
            _ => Self::HandshakeDecrypt,
        }
    }
}

impl From<OpenError> for DropReason {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::UnknownIndex => Self::UnknownIndex,
            OpenError::Expired => Self::KeyExpired,
            OpenError::CounterLimit => Self::CounterLimit,
            OpenError::Replayed => Self::Replay,
            _ => Self::InvalidTag,
        }
    }
}

impl From<InvalidCookieReply> for DropReason {
    fn from(_: InvalidCookieReply) -> Self {
        Self::InvalidCookieReply
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::HashSet;
    use std::string::String;

    use super::*;

    /// `OutNotIp` to `out_not_ip`.
    fn snake_case(name: &str) -> String {
        let mut snake = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(letter.to_lowercase());
        }
        snake
    }

    #[test]
    fn all_is_complete_and_in_order() {
        for (number, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), number);
        }
        assert_eq!(DropReason::ALL.len(), 53);
        assert_eq!(DropReason::ALL.last(), Some(&DropReason::NoBuffer));
    }

    #[test]
    fn names_are_unique_and_those_of_the_variants() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for reason in DropReason::ALL {
            assert_eq!(reason.name(), snake_case(&std::format!("{reason:?}")));
            assert_eq!(std::format!("{reason}"), reason.name());
        }
    }

    #[test]
    fn what_depends_on_a_secret_is_not_public() {
        // An attacker who guesses an index, a static key or our public key must not see the guess counted.
        for reason in [
            DropReason::UnknownIndex,
            DropReason::NotASession,
            DropReason::KeyExpired,
            DropReason::InvalidTag,
            DropReason::Replay,
            DropReason::UnknownPeer,
            DropReason::OldTimestamp,
            DropReason::InvalidMac1,
            DropReason::InvalidCookieReply,
        ] {
            assert_eq!(reason.exposure(), Exposure::Oracle, "{reason}");
        }
        assert_eq!(DropReason::UnknownMessageType.exposure(), Exposure::Public);
        assert_eq!(DropReason::StagedOverflow.exposure(), Exposure::Public);
    }

    #[test]
    fn each_error_of_the_protocol_has_its_reason() {
        let handshake = [
            (HandshakeError::Unauthentic, DropReason::HandshakeDecrypt),
            (HandshakeError::LowOrder, DropReason::LowOrderPoint),
            (HandshakeError::Unexpected, DropReason::UnexpectedResponse),
            (HandshakeError::OldTimestamp, DropReason::OldTimestamp),
            (HandshakeError::TooSoon, DropReason::InitiationFlood),
            (HandshakeError::NoKey, DropReason::NoPrivateKey),
            (HandshakeError::Entropy, DropReason::NoEntropy),
        ];
        for (error, reason) in handshake {
            assert_eq!(DropReason::from(error), reason);
        }
        let open = [
            (OpenError::UnknownIndex, DropReason::UnknownIndex),
            (OpenError::Expired, DropReason::KeyExpired),
            (OpenError::CounterLimit, DropReason::CounterLimit),
            (OpenError::Replayed, DropReason::Replay),
            (OpenError::Unauthentic, DropReason::InvalidTag),
        ];
        for (error, reason) in open {
            assert_eq!(DropReason::from(error), reason);
        }
        let parse = [
            (ParseError::TooShort, DropReason::MessageTooShort),
            (ParseError::UnknownType, DropReason::UnknownMessageType),
            (ParseError::WrongLength, DropReason::WrongMessageLength),
        ];
        for (error, reason) in parse {
            assert_eq!(DropReason::from(error), reason);
        }
        assert_eq!(DropReason::from(InvalidCookieReply), DropReason::InvalidCookieReply);
    }

    #[test]
    fn ip_errors_are_told_apart_by_direction() {
        for error in [IpError::NotIp, IpError::TooShort, IpError::BadLength] {
            assert!(DropReason::outgoing(error).name().starts_with("out_"));
            assert!(DropReason::incoming(error).name().starts_with("in_"));
        }
        assert_eq!(DropReason::incoming(IpError::BadLength), DropReason::InBadLength);
        assert_eq!(DropReason::outgoing(IpError::NotIp), DropReason::OutNotIp);
    }
}
