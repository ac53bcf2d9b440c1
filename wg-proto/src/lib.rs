#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

pub mod aead;
mod blake2s;
mod control;
mod cookie;
pub mod dh;
mod endpoint;
#[cfg(feature = "test-util")]
mod fingerprint;
mod guard;
mod index;
mod key;
#[cfg(feature = "key-log")]
mod key_log;
mod keypair;
pub mod limits;
mod mac;
pub mod noise;
mod peer;
mod rate_limit;
mod replay;
mod sessions;
mod stack;
mod time;
mod timers;
mod transport;
#[cfg(not(feature = "test-util"))]
mod unclonable;
pub mod wire;

pub use control::{Control, Trigger};
pub use cookie::{CookieChecker, CookieJar, InvalidCookieReply};
pub use endpoint::{Endpoint, Source};
#[cfg(feature = "test-util")]
pub use fingerprint::{Fingerprint, Named};
pub use guard::{Guard, HandshakeMessage, Load, Verdict};
pub use index::SessionIndex;
#[cfg(feature = "test-util")]
pub use key::multiplications;
pub use key::{
    DhError, KEY_LEN, LowOrderPoint, PresharedKey, PrivateKey, PublicKey, SharedSecret, StaticIdentity,
};
#[cfg(feature = "key-log")]
pub use key_log::{KeyLog, KeyLogRecord};
pub use keypair::{Inline, Keypair};
pub use mac::Mac1Key;
pub use noise::{HandshakeError, Role};
pub use peer::{Config, Event, Handled, Peer, ReceiveError, SealError, Transmit};
pub use rate_limit::RateLimiter;
pub use replay::{ReplayWindow, Replayed};
pub use sessions::{NoSession, Outgoing, Received, Retired, SendGrant, Sessions};
pub use stack::{WIPED_STACK, wipe_stack, with_wiped_stack};
pub use time::{Instant, Tai64n, UnixTime};
pub use timers::{HandshakeDue, TrafficDue};
pub use transport::{OpenError, RecvKey, SendKey, padded_len};
