//! Constants of the protocol, each with the section of the white paper it comes from, and our own bounds apart.
//!
//! The white paper is "WireGuard: Next Generation Kernel Network Tunnel", revision of 2020-06-01.

use core::time::Duration;

// --- constants of the specification ---

/// Messages a key may seal before a new handshake is asked for: 2^60 (6.1).
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;

/// Counters from here on are neither sent nor accepted: 2^64 - 2^13 - 1 (6.1).
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// Age at which the initiator of a session asks for the next one when it sends (6.1, 6.2).
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);

/// Age from which a key is neither sent with nor accepted (6.1).
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);

/// How long retransmissions of an initiation go on (6.1); see [`MAX_RETRANSMISSIONS`] for what is counted.
pub const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);

/// The least time between two handshake messages to a peer, and the wait for a response (6.1).
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence after received data before a passive keepalive is sent (6.1, 6.5).
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a cookie secret is used, and a cookie is valid at its issuer (5.4.7).
pub const COOKIE_SECRET_MAX_AGE: Duration = Duration::from_secs(120);

/// The upper end of the uniform jitter on retransmission and on the new-handshake timer (6.1).
pub const MAX_JITTER: Duration = Duration::from_millis(333);

/// Usable width of the replay window, in packets behind the newest (5.4.6).
pub const REPLAY_WINDOW: u64 = 8128;

/// The 64-bit words of a replay window of that width: one of them is always spare.
pub const REPLAY_WORDS: usize = 128;

// --- derived from them ---

/// Retransmissions after the first initiation before giving up: 90 s in steps of 5 s, plus the one that runs out.
pub const MAX_RETRANSMISSIONS: u8 = 19;

/// Age at which the initiator asks for a new session when it *receives*: 180 - 10 - 5 s (6.2).
pub const REKEY_ON_RECEIVE_AFTER: Duration = Duration::from_secs(165);

/// Time without an answer to sent data after which a handshake starts: 10 + 5 s (6.5).
pub const NO_ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Time after the last key derivation at which all key material is wiped: 3 x 180 s (6.3).
pub const ZERO_KEYS_AFTER: Duration = Duration::from_secs(540);

/// How long a received cookie is used: its 120 s less 5 s of latency.
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(115);

// --- bounds of this implementation ---

/// The least time between two accepted initiations of one peer: 1/50 s.
pub const INITIATION_INTERVAL: Duration = Duration::from_millis(20);

/// How much longer the side with the greater public key waits to try again after its initiation crossed the peer's: more
/// than both jitters and any delay on the way, so that they do not cross again.
pub const CROSSING_DELAY: Duration = Duration::from_millis(2500);

/// Extra delay on top of that, drawn from zero to this.
pub const CROSSING_JITTER: Duration = Duration::from_millis(2500);

/// Handshake messages a verified source may have served per second while under load.
pub const LIMITER_PER_SECOND: u32 = 20;

/// Burst of the same.
pub const LIMITER_BURST: u32 = 5;

/// How long a device stays under load after its handshake queue was last long.
pub const UNDER_LOAD_HOLD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_their_published_values() {
        assert_eq!(REKEY_AFTER_MESSAGES, 1_152_921_504_606_846_976); // C57
        assert_eq!(REJECT_AFTER_MESSAGES, 18_446_744_073_709_543_423); // C58
        assert_eq!(REKEY_AFTER_TIME.as_millis(), 120_000);
        assert_eq!(REJECT_AFTER_TIME.as_millis(), 180_000); // C56
        assert_eq!(REKEY_ATTEMPT_TIME.as_millis(), 90_000);
        assert_eq!(REKEY_TIMEOUT.as_millis(), 5_000); // C45
        assert_eq!(KEEPALIVE_TIMEOUT.as_millis(), 10_000);
        assert_eq!(COOKIE_SECRET_MAX_AGE.as_millis(), 120_000); // C108
        assert_eq!(MAX_JITTER.as_millis(), 333);
        assert_eq!(REPLAY_WINDOW, 8_128); // C77
        assert_eq!(REPLAY_WORDS, 128);
        assert_eq!(MAX_RETRANSMISSIONS, 19); // C118: 20 initiations in all
        assert_eq!(REKEY_ON_RECEIVE_AFTER.as_millis(), 165_000); // C122
        assert_eq!(NO_ANSWER_TIMEOUT.as_millis(), 15_000);
        assert_eq!(ZERO_KEYS_AFTER.as_millis(), 540_000); // C60
        assert_eq!(COOKIE_LIFETIME.as_millis(), 115_000); // C111
        assert_eq!(INITIATION_INTERVAL.as_micros(), 20_000); // C31
        assert_eq!(CROSSING_DELAY.as_millis(), 2_500); // C39
        assert_eq!(CROSSING_JITTER.as_millis(), 2_500);
        assert_eq!(LIMITER_PER_SECOND, 20); // C113
        assert_eq!(LIMITER_BURST, 5);
        assert_eq!(UNDER_LOAD_HOLD.as_millis(), 1_000); // C104
    }
}
