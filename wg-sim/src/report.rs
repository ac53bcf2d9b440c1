//! What a run came to: every packet accounted for, and what was done to them.

use core::fmt;

/// Defines a set of counters that can be added up and listed by name.
macro_rules! counters {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $field_doc:literal])+ $field:ident,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $field_doc])+ pub $field: u64,)+
        }

        impl $name {
            /// The name of each counter, in order.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field)),+];

            /// Returns each counter with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                Self::NAMES.iter().copied().zip([$(self.$field),+])
            }

            /// Returns a counter by its name.
            pub fn by_name(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($field) => Some(&mut self.$field),)+
                    _ => None,
                }
            }

            /// Adds those of another run.
            pub const fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)+
            }
        }
    };
}

counters! {
    /// What became of the inner packets, and of the datagrams.
    ///
    /// `packets` is the sum of those from `delivered` to `staged`; whatever is missing is `unexplained`, and a violation.
    Counts {
        /// Inner packets that hosts sent.
        packets,
        /// Delivered, once, whole, in order.
        delivered,
        /// Refused by their own host: too short, no route, no endpoint, interface down.
        refused_at_source,
        /// Dropped from the staged queue as it was full.
        staged_overflow,
        /// Dropped from the staged queue when the handshake was given up, the keys were wiped, or by configuration.
        staged_dropped,
        /// Waiting when their host began anew.
        lost_in_restart,
        /// Lost on the wire by injected loss, MTU or partition.
        lost_on_wire,
        /// Sent to an address where nobody is, or somebody else.
        lost_on_the_way,
        /// Lost at a host that slept, or whose socket was full.
        lost_at_sleeper,
        /// Corrupted on the wire.
        corrupted,
        /// Refused by the receiver as it had begun anew, or wiped its keys.
        refused_after_restart,
        /// Refused by the receiver as their session was superseded by another (C52).
        refused_superseded,
        /// Refused by the receiver as their key was too old, or their counter too high.
        refused_expired,
        /// Refused by the receiver as they were too far behind the newest.
        refused_too_old,
        /// Refused by the receiver for its configuration: allowed IPs, interface down.
        refused_by_configuration,
        /// Still on the wire when the run ended.
        in_flight,
        /// Still staged when the run ended.
        staged,
        /// Not accounted for: always 0.
        unexplained,

        /// Datagrams that nodes sent.
        datagrams,
        /// Initiations among them.
        initiations,
        /// Responses among them.
        responses,
        /// Cookie replies among them.
        cookie_replies,
        /// Keepalives among them.
        keepalives,
        /// Handshakes that were completed, counted by their initiator.
        handshakes,
        /// Datagrams that came to a node.
        arrivals,
        /// Of those, the ones that it refused.
        refusals,

        /// Datagrams lost by chance, partition or MTU.
        faults_loss,
        /// Duplicated.
        faults_duplicate,
        /// Held back until others had overtaken them.
        faults_reorder,
        /// Corrupted.
        faults_corrupt,
        /// Replayed by the adversary.
        faults_replay,
        /// Truncated, extended, spliced or flipped by the adversary.
        faults_mangle,
        /// Forged by the adversary.
        faults_forge,
        /// Restarts, wiped keys, and changes of configuration.
        faults_configuration,
        /// Clocks that stepped or stood still, hosts that slept or came late, entropy that failed.
        faults_clock,
        /// Addresses that changed.
        faults_rebind,

        /// Old initiations that a host answered after it had begun anew, and followed to their source (C35).
        answered_after_restart,
        /// Operations that a node does not know.
        unsupported,
        /// Worlds that were run.
        trials,
        /// Operations of the script.
        ops,
        /// Calls of nodes.
        steps,
        /// Virtual milliseconds.
        millis,
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All counters.
    pub counts: Counts,
    /// How long each `reach` and `settle` took, in virtual milliseconds.
    pub recoveries: Vec<u32>,
    /// A digest over all that happened: the same script gives the same.
    pub trace: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.counts.iter().filter(|(_, count)| *count != 0) {
            writeln!(f, "{name:<26} {count}")?;
        }
        if let Some(longest) = self.recoveries.iter().max() {
            writeln!(f, "{:<26} {longest}", "longest recovery, ms")?;
        }
        writeln!(f, "{:<26} {:016x}", "trace", self.trace)
    }
}
