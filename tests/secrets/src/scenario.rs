//! What two sides do, stage by stage, the same in every process that does it: keys, entropy and time follow from numbers.
//!
//! [`Peers`] are two [`wg_proto::Peer`]s, [`Devices`] two devices of `wg-datapath` over a network in memory. Both keep all
//! they have on the heap, so that nothing that is found on the stack is in use. Each stage tells what may be found after it.

mod devices;
mod entropy;
mod peers;

pub use devices::Devices;
pub use entropy::{Draws, Entropy};
pub use peers::Peers;

use crate::masked::Kind;

/// A stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Both sides are configured; nothing was sent.
    Configured,
    /// An initiation waits for its answer.
    Initiated,
    /// The first session, with packets both ways.
    Session,
    /// The second session, after a rekey: the keys of the first are still good for what was under way.
    Rekeyed,
    /// One more session, made under load, with a cookie.
    Cookie,
    /// All keys expired by age, 540 s after the last handshake.
    Expired,
    /// A new session, under a new pre-shared key.
    Preshared,
    /// The first side has another static key.
    KeyChanged,
    /// A session under the new key.
    Again,
    /// Both sides were dropped.
    Dropped,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Configured,
        Self::Initiated,
        Self::Session,
        Self::Rekeyed,
        Self::Cookie,
        Self::Expired,
        Self::Preshared,
        Self::KeyChanged,
        Self::Again,
        Self::Dropped,
    ];

    /// Whether a secret of this kind may be in use somewhere.
    #[must_use]
    pub const fn may_hold(self, kind: Kind) -> bool {
        match kind {
            Kind::StaticPrivate | Kind::Preshared | Kind::StaticStatic => !matches!(self, Self::Dropped),
            // An initiation that waits is its ephemeral key, its chaining key, and its hash.
            Kind::Ephemeral | Kind::ChainingKey => matches!(self, Self::Initiated),
            Kind::Shared | Kind::HandshakeKey | Kind::Hash => false,
            // Looked for in batches only.
            Kind::Keystream | Kind::OneTimeKey | Kind::Plaintext => false,
            Kind::Transport => {
                matches!(
                    self,
                    Self::Session
                        | Self::Rekeyed
                        | Self::Cookie
                        | Self::Preshared
                        | Self::KeyChanged
                        | Self::Again
                )
            }
            // The jar and the checker keep theirs until they are asked for another.
            Kind::Cookie | Kind::CookieSecret => !matches!(
                self,
                Self::Configured | Self::Initiated | Self::Session | Self::Rekeyed | Self::Dropped
            ),
        }
    }

    /// Whether there must be one, or the scanner sees nothing.
    #[must_use]
    pub const fn must_hold(self, kind: Kind) -> bool {
        match kind {
            Kind::StaticPrivate | Kind::Preshared | Kind::StaticStatic => !matches!(self, Self::Dropped),
            Kind::Ephemeral | Kind::ChainingKey => matches!(self, Self::Initiated),
            Kind::Transport => {
                matches!(self, Self::Session | Self::Rekeyed | Self::Cookie | Self::Preshared | Self::Again)
            }
            Kind::Cookie | Kind::CookieSecret => matches!(self, Self::Cookie),
            Kind::Shared
            | Kind::HandshakeKey
            | Kind::Hash
            | Kind::Keystream
            | Kind::OneTimeKey
            | Kind::Plaintext => false,
        }
    }
}

/// What was drawn and sent, for the process that learns.
#[derive(Debug, Default)]
pub struct Record {
    /// Every 32 bytes that were drawn.
    pub draws: Draws,
    /// Static keys, clamped, with the side they belong to.
    pub statics: Vec<(usize, [u8; 32])>,
    /// Pre-shared keys.
    pub psks: Vec<[u8; 32]>,
    /// Datagrams of handshakes, with the side that sent them.
    pub wire: Vec<(usize, Vec<u8>)>,
}

/// Something that can be taken through the stages.
pub trait Scenario: Sized + 'static {
    /// Makes both sides. With a record, everything drawn and sent goes into it.
    fn make(record: bool) -> Box<Self>;

    /// Does what a stage says.
    fn go(&mut self, stage: Stage);

    /// Takes the record out.
    fn record(&mut self) -> Record;
}

/// The source address of a side, as it goes into a cookie.
#[must_use]
pub fn cookie_source(side: usize) -> [u8; 6] {
    let [high, low] = PORT.to_be_bytes();
    let [a, b, c, d] = address(side);
    [a, b, c, d, high, low]
}

const PORT: u16 = 51820;

fn address(side: usize) -> [u8; 4] {
    [192, 0, 2, u8::try_from(side).unwrap_or(0) + 1]
}
