//! The timers of a peer, told of events and never set from outside. White paper, section 6.
//!
//! They are split by who owns them: [`TrafficTimers`] belong to the sessions, next to the packets that move them;
//! [`HandshakeTimers`] belong to control. Deadlines are exact instants: a poll at the deadline acts, and what was polled is
//! gone (C131). A clock that goes backwards only delays them, and what is set anew by the next event is as if it were not set
//! at all if it lies further ahead than it can have been set (C132).

use core::time::Duration;

#[cfg(feature = "test-util")]
use crate::fingerprint::Fingerprint;
use crate::limits::{
    CROSSING_DELAY, CROSSING_JITTER, KEEPALIVE_TIMEOUT, MAX_JITTER, MAX_RETRANSMISSIONS, NO_ANSWER_TIMEOUT,
    REKEY_TIMEOUT, ZERO_KEYS_AFTER,
};
use crate::time::Instant;

/// A small generator for jitter, which needs no secrecy: it only keeps peers from moving in step (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Jitter {
    state: u64,
    /// Thousandths of the maximum that every draw gives.
    #[cfg(feature = "test-util")]
    fixed: Option<u16>,
}

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            state: seed,
            #[cfg(feature = "test-util")]
            fixed: None,
        }
    }

    #[cfg(feature = "test-util")]
    fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        match self.fixed {
            Some(thousandths) => into.number(thousandths.into()),
            None => into.number(self.state),
        }
    }

    /// Draws from zero to `max`, both included.
    fn up_to(&mut self, max: Duration) -> Duration {
        #[cfg(feature = "test-util")]
        if let Some(thousandths) = self.fixed {
            return max.saturating_mul(thousandths.into()) / 1000;
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let range = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        // The bias of the modulus is below 2^-31 for the ranges used here.
        Duration::from_nanos(mixed.checked_rem(range).unwrap_or(0))
    }
}

/// What the traffic timers ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficDue {
    /// Send a keepalive.
    pub keepalive: bool,
    /// Data went unanswered for 15 s: forget the sticky source and start a handshake.
    pub no_answer: bool,
}

/// Passive keepalive, persistent keepalive, and the rule that silence after data starts a handshake.
#[derive(Clone, Debug)]
pub(crate) struct TrafficTimers {
    jitter: Jitter,
    send_keepalive: Option<Instant>,
    another_keepalive: bool,
    rearm_after_keepalive: bool,
    no_answer: Option<Instant>,
    persistent: Option<Instant>,
    persistent_interval: Duration,
}

impl TrafficTimers {
    pub(crate) const fn new(jitter: Jitter) -> Self {
        Self {
            jitter,
            send_keepalive: None,
            another_keepalive: false,
            rearm_after_keepalive: false,
            no_answer: None,
            persistent: None,
            persistent_interval: Duration::ZERO,
        }
    }

    /// Data left: the wait for any answer starts with the first (C125).
    pub(crate) fn data_sent(&mut self, now: Instant) {
        let longest = NO_ANSWER_TIMEOUT.saturating_add(MAX_JITTER);
        if !is_pending(self.no_answer, now, longest) {
            let wait = NO_ANSWER_TIMEOUT.saturating_add(self.jitter.up_to(MAX_JITTER));
            self.no_answer = Some(now.saturating_add(wait));
        }
    }

    /// Data came: unless something is sent within 10 s, a keepalive is (C117, C126).
    pub(crate) fn data_received(&mut self, now: Instant) {
        if !is_pending(self.send_keepalive, now, KEEPALIVE_TIMEOUT) {
            self.send_keepalive = Some(now.saturating_add(KEEPALIVE_TIMEOUT));
        } else {
            self.another_keepalive = true;
        }
    }

    /// Initiation, response, data or keepalive left (C124).
    pub(crate) fn any_authenticated_packet_sent(&mut self, now: Instant) {
        self.another_keepalive = false;
        self.send_keepalive =
            core::mem::take(&mut self.rearm_after_keepalive).then(|| now.saturating_add(KEEPALIVE_TIMEOUT));
        self.traversal(now);
    }

    /// Initiation, response, data or keepalive came (C124).
    pub(crate) fn any_authenticated_packet_received(&mut self, now: Instant) {
        self.no_answer = None;
        self.traversal(now);
    }

    /// A keepalive was due and could not be sent for want of a session.
    pub(crate) const fn keepalive_not_sent(&mut self) {
        self.rearm_after_keepalive = false;
    }

    /// The handshake was given up (C118).
    pub(crate) const fn given_up(&mut self) {
        self.send_keepalive = None;
        self.another_keepalive = false;
    }

    fn traversal(&mut self, now: Instant) {
        if !self.persistent_interval.is_zero() {
            self.persistent = Some(now.saturating_add(self.persistent_interval));
        }
    }

    /// Sets the interval of the persistent keepalive, zero for none, and tells whether one is to be sent now: when it is
    /// switched on (C127). A change takes effect with the next packet.
    pub(crate) const fn set_persistent_keepalive(&mut self, interval: Duration) -> bool {
        let switched_on = self.persistent_interval.is_zero() && !interval.is_zero();
        self.persistent_interval = interval;
        if interval.is_zero() {
            self.persistent = None;
        }
        switched_on
    }

    pub(crate) const fn persistent_keepalive(&self) -> Duration {
        self.persistent_interval
    }

    /// Stops all timers; the interval of the persistent keepalive stays.
    pub(crate) const fn stop(&mut self) {
        self.send_keepalive = None;
        self.another_keepalive = false;
        self.rearm_after_keepalive = false;
        self.no_answer = None;
        self.persistent = None;
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        [self.send_keepalive, self.no_answer, self.persistent].into_iter().flatten().min()
    }

    /// Takes what is due. A persistent keepalive is armed again at once, so that one that cannot be sent does not end them.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> TrafficDue {
        let mut due = TrafficDue::default();
        if take_due(&mut self.send_keepalive, now) {
            due.keepalive = true;
            self.rearm_after_keepalive = core::mem::take(&mut self.another_keepalive);
        }
        if take_due(&mut self.persistent, now) && !self.persistent_interval.is_zero() {
            due.keepalive = true;
            self.persistent = Some(now.saturating_add(self.persistent_interval));
        }
        due.no_answer = take_due(&mut self.no_answer, now);
        due
    }

    #[cfg(feature = "test-util")]
    pub(crate) const fn fix_jitter(&mut self, thousandths: u16) {
        self.jitter.fixed = Some(thousandths);
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        self.jitter.fingerprint(into);
        for at in [self.send_keepalive, self.no_answer, self.persistent] {
            into.deadline(at);
        }
        into.flag(self.another_keepalive);
        into.flag(self.rearm_after_keepalive);
        into.duration(self.persistent_interval);
    }
}

/// What the handshake timers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeDue {
    /// Forget the sticky source and send the initiation again, new from the start.
    Retransmit,
    /// Give up: stop the keepalive and drop what is staged (C118).
    GiveUp,
    /// Wipe all keys and the handshake, and drop what is staged (C60).
    ZeroKeys,
}

/// Retransmission and the wiping of keys.
#[derive(Clone, Debug)]
pub(crate) struct HandshakeTimers {
    jitter: Jitter,
    retransmit: Option<Instant>,
    /// The retransmission is that of a side that leaves the next try to the peer (C39).
    yielding: bool,
    zero_keys: Option<Instant>,
    attempts: u8,
}

impl HandshakeTimers {
    pub(crate) const fn new(jitter: Jitter) -> Self {
        Self { jitter, retransmit: None, yielding: false, zero_keys: None, attempts: 0 }
    }

    /// Someone wants a session, and not by retransmission (C119).
    pub(crate) const fn handshake_wanted(&mut self) {
        self.attempts = 0;
    }

    pub(crate) fn handshake_initiated(&mut self, now: Instant) {
        let delay = REKEY_TIMEOUT.saturating_add(self.jitter.up_to(MAX_JITTER));
        self.retransmit = Some(now.saturating_add(delay));
        self.yielding = false;
    }

    /// A retransmission fell within 5 s of another handshake message: it is put off, never dropped (C39).
    pub(crate) fn retransmission_suppressed(&mut self, last_sent: Instant) {
        self.attempts = self.attempts.saturating_sub(1);
        let delay = REKEY_TIMEOUT.saturating_add(self.jitter.up_to(MAX_JITTER));
        self.retransmit = Some(last_sent.saturating_add(delay));
        self.yielding = false;
    }

    /// Our initiation was replaced by the peer's, so they may have crossed and both be lost. Were both sides to try again
    /// after the same time they would cross again; so one of them `yields`, and waits longer (C39).
    pub(crate) fn initiation_superseded(&mut self, yields: bool, now: Instant) {
        if self.retransmit.is_some() {
            let delay = if yields {
                CROSSING_DELAY.saturating_add(self.jitter.up_to(CROSSING_JITTER))
            } else {
                self.jitter.up_to(MAX_JITTER)
            };
            self.retransmit = Some(now.saturating_add(REKEY_TIMEOUT).saturating_add(delay));
            self.yielding = yields;
        }
    }

    /// Whether this side leaves the next try to the peer, also when it has packets to send: or they might cross again.
    pub(crate) fn is_yielding(&self, now: Instant) -> bool {
        self.yielding && self.retransmit.is_some_and(|at| at > now) && self.is_retransmitting(now)
    }

    pub(crate) const fn handshake_complete(&mut self) {
        self.retransmit = None;
        self.attempts = 0;
    }

    pub(crate) const fn session_derived(&mut self, now: Instant) {
        self.zero_keys = Some(now.saturating_add(ZERO_KEYS_AFTER));
    }

    pub(crate) const fn stop(&mut self) {
        self.retransmit = None;
        self.zero_keys = None;
        self.attempts = 0;
    }

    pub(crate) const fn stop_retransmission(&mut self) {
        self.retransmit = None;
    }

    pub(crate) fn is_retransmitting(&self, now: Instant) -> bool {
        is_pending(
            self.retransmit,
            now,
            REKEY_TIMEOUT.saturating_add(CROSSING_DELAY).saturating_add(CROSSING_JITTER),
        )
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        [self.retransmit, self.zero_keys].into_iter().flatten().min()
    }

    /// Takes one thing that is due; to be called until nothing is.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<HandshakeDue> {
        if take_due(&mut self.zero_keys, now) {
            return Some(HandshakeDue::ZeroKeys);
        }
        if take_due(&mut self.retransmit, now) {
            if self.attempts < MAX_RETRANSMISSIONS {
                self.attempts = self.attempts.saturating_add(1);
                return Some(HandshakeDue::Retransmit);
            }
            self.zero_keys = self.zero_keys.or_else(|| Some(now.saturating_add(ZERO_KEYS_AFTER)));
            return Some(HandshakeDue::GiveUp);
        }
        None
    }

    #[cfg(feature = "test-util")]
    pub(crate) const fn fix_jitter(&mut self, thousandths: u16) {
        self.jitter.fixed = Some(thousandths);
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn fingerprint(&self, into: &mut Fingerprint<'_>) {
        self.jitter.fingerprint(into);
        into.deadline(self.retransmit);
        into.flag(self.yielding && self.retransmit.is_some());
        into.deadline(self.zero_keys);
        into.number(self.attempts.into());
    }
}

/// Whether a timer will go off within the longest time it is ever set for. If not, the clock has gone back since.
fn is_pending(timer: Option<Instant>, now: Instant, longest: Duration) -> bool {
    timer.is_some_and(|at| at <= now.saturating_add(longest))
}

fn take_due(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn traffic() -> TrafficTimers {
        TrafficTimers::new(Jitter::new(1))
    }

    #[test]
    fn keepalive_follows_data_after_ten_seconds_of_silence() {
        // C126
        let mut timers = traffic();
        timers.data_received(at(0));
        assert_eq!(timers.next_timeout(), Some(at(10_000)));
        assert_eq!(timers.handle_timeout(at(9_999)), TrafficDue::default());
        assert!(timers.handle_timeout(at(10_000)).keepalive, "a poll at the deadline acts");
        timers.any_authenticated_packet_sent(at(10_000));
        assert_eq!(timers.next_timeout(), None);
    }

    #[test]
    fn data_while_waiting_asks_for_one_more_keepalive() {
        // C117
        let mut timers = traffic();
        timers.data_received(at(0));
        timers.data_received(at(5_000));
        assert!(timers.handle_timeout(at(10_000)).keepalive);
        timers.any_authenticated_packet_sent(at(10_000));
        assert_eq!(timers.next_timeout(), Some(at(20_000)));
        assert!(timers.handle_timeout(at(20_000)).keepalive);
        timers.any_authenticated_packet_sent(at(20_000));
        assert_eq!(timers.next_timeout(), None, "and then no more");
    }

    #[test]
    fn anything_sent_cancels_the_keepalive() {
        let mut timers = traffic();
        timers.data_received(at(0));
        timers.data_received(at(1));
        timers.any_authenticated_packet_sent(at(2));
        assert_eq!(timers.next_timeout(), None);
        timers.data_received(at(3));
        assert!(timers.handle_timeout(at(10_003)).keepalive);
        timers.any_authenticated_packet_sent(at(10_003));
        assert_eq!(timers.next_timeout(), None, "no stale wish for another");
    }

    #[test]
    fn silence_counts_from_the_first_unanswered_packet() {
        // C125
        let mut timers = traffic();
        timers.data_sent(at(0));
        let deadline = timers.next_timeout().unwrap();
        assert!((at(15_000)..=at(15_333)).contains(&deadline));
        timers.data_sent(at(14_000));
        assert_eq!(timers.next_timeout(), Some(deadline));
        assert!(timers.handle_timeout(deadline).no_answer);
        timers.data_sent(at(20_000));
        timers.any_authenticated_packet_received(at(21_000));
        assert_eq!(timers.next_timeout(), None);
    }

    #[test]
    fn persistent_keepalive_waits_for_silence_both_ways() {
        // C127
        let mut timers = traffic();
        assert!(timers.set_persistent_keepalive(Duration::from_secs(25)), "switched on: one at once");
        assert!(!timers.set_persistent_keepalive(Duration::from_secs(20)));
        timers.any_authenticated_packet_sent(at(0));
        timers.any_authenticated_packet_received(at(7_000));
        assert_eq!(timers.next_timeout(), Some(at(27_000)));
        assert!(timers.handle_timeout(at(27_000)).keepalive);
        assert_eq!(timers.next_timeout(), Some(at(47_000)), "goes on even if that one could not leave");
        timers.set_persistent_keepalive(Duration::ZERO);
        assert_eq!(timers.next_timeout(), None);
        timers.any_authenticated_packet_sent(at(50_000));
        assert_eq!(timers.next_timeout(), None);
    }

    #[test]
    fn one_late_poll_does_not_burst() {
        // C131
        let mut timers = traffic();
        timers.set_persistent_keepalive(Duration::from_secs(1));
        timers.any_authenticated_packet_sent(at(0));
        timers.data_received(at(0));
        assert!(timers.handle_timeout(at(9_000_000)).keepalive);
        timers.any_authenticated_packet_sent(at(9_000_000));
        assert_eq!(timers.next_timeout(), Some(at(9_001_000)));
    }

    #[test]
    fn gives_up_after_nineteen_retransmissions() {
        // C118
        let mut timers = HandshakeTimers::new(Jitter::new(7));
        timers.handshake_wanted();
        let (mut sent, mut now) = (1, at(0));
        timers.handshake_initiated(now);
        loop {
            let next = timers.next_timeout().unwrap();
            let waited = next.saturating_duration_since(now);
            assert!((Duration::from_secs(5)..=Duration::from_millis(5_333)).contains(&waited));
            now = next;
            match timers.handle_timeout(now) {
                Some(HandshakeDue::Retransmit) => {
                    sent += 1;
                    timers.handshake_initiated(now);
                }
                Some(HandshakeDue::GiveUp) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sent, 20);
        assert!((at(100_000)..=at(106_660)).contains(&now));
        assert_eq!(timers.next_timeout(), Some(now.saturating_add(ZERO_KEYS_AFTER)));
        assert_eq!(timers.handle_timeout(now), None);
    }

    #[test]
    fn one_side_yields_after_a_crossing() {
        // C39: whatever is drawn, the ranges are a way of 2 s apart.
        for seed in 0..200 {
            let after = |yields| {
                let mut timers = HandshakeTimers::new(Jitter::new(seed));
                timers.handshake_initiated(at(0));
                timers.initiation_superseded(yields, at(100));
                timers.next_timeout().unwrap()
            };
            assert!((at(5_100)..=at(5_433)).contains(&after(false)));
            assert!((at(7_600)..=at(10_100)).contains(&after(true)));
        }
        let mut timers = HandshakeTimers::new(Jitter::new(7));
        timers.initiation_superseded(true, at(0));
        assert_eq!(timers.next_timeout(), None, "what was given up is not begun again");
    }

    #[test]
    fn clock_going_backwards_freezes_and_does_not_panic() {
        // C132
        let mut timers = traffic();
        timers.data_received(at(50_000));
        assert_eq!(timers.handle_timeout(at(0)), TrafficDue::default());
        timers.data_sent(Instant::from_nanos(u64::MAX));
        assert!(timers.next_timeout().is_some());
    }
}
