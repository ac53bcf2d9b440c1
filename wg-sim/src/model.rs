//! The bounded model check: every order in which two peers, a network and time can act, up to a depth.
//!
//! ```text
//!             send A   send B        deliver, drop, duplicate        advance, sleep      restart, restore
//!               |        |              any datagram under way         |                    |
//!   state ------+--------+-----------------+---------------------------+--------------------+----> states
//! ```
//!
//! The peers are the real ones, [`wg_proto::Peer`], driven as a caller should. The search goes breadth first, so that what it
//! finds is the shortest way to break a [`Rule`]; states that cannot be told apart by what comes after them are one. Two states
//! are alike if they have the same digest: times are relative to now, and messages and keys are named by the order in which
//! they were made.
//!
//! What makes the number of states finite, and what it leaves out:
//!
//! - Time stands still but for two actions. [`Action::Advance`] goes to the next instant at which anything can change: a deadline
//!   of a peer, or a key that comes to the age of 120, 165 or 180 s. [`Action::Sleep`] goes to the next such age at once, so that
//!   every deadline before it is polled late. A datagram under way may come before or after any of it.
//! - Jitter is fixed for each side: a [`Scenario`] says at which part of its range.
//! - The wall clock is the order of events: each initiation has a timestamp later than all before it.
//! - Entropy is a number that rises with each message of a handshake, so that a run can be repeated by its actions.
//! - A datagram is under way at most twice, and a host keeps at most two packets back.
//!
//! Everything that is delivered is first delivered forged, and afterwards once more, from another address: neither may change
//! anything. From a share of the states it is looked whether the peers find each other again, see [`Settings::recover_every`].

mod action;
mod digest;
mod entropy;
mod host;
mod ledger;
mod recovery;
mod scenario;
mod search;
mod side;
mod static_key;
mod step;
mod wire;
mod world;

pub use action::Action;
pub use host::Mistake;
pub use ledger::{Rule, Violation};
pub use scenario::Scenario;
pub use search::{Counterexample, Report, Settings, check};
pub use side::Side;
