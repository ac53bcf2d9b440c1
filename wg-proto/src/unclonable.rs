//! Proof, by the compiler, that what holds keys cannot be cloned.
//!
//! A second copy of a peer, of its sessions or of a keypair would seal with nonces that the first has used (C59, C61), and
//! a copy of a secret is one more to be wiped. With the feature `test-util` they can be cloned: a model checker tries many
//! futures of one state, and no network sees them. In every other build this file does not compile if one of them can.

use crate::{
    Control, CookieChecker, CookieJar, Guard, Inline, Keypair, Peer, PresharedKey, PrivateKey, RecvKey,
    SendKey, Sessions, SharedSecret, noise,
};

/// Has one implementation for a type that cannot be cloned, and two for one that can: then which is meant is unclear.
trait Unclonable<Which> {
    const PROVEN: () = ();
}

struct IfClone;

impl<T> Unclonable<()> for T {}
impl<T: Clone> Unclonable<IfClone> for T {}

macro_rules! unclonable {
    ($($type:ty),* $(,)?) => {
        $(const _: () = <$type as Unclonable<_>>::PROVEN;)*
    };
}

// Where a type has parameters they are clonable here, so that it is the type itself that refuses.
unclonable!(
    Peer<(), ()>,
    Control,
    Sessions<()>,
    Inline<()>,
    Keypair<(), ()>,
    SendKey<()>,
    RecvKey<()>,
    Guard,
    CookieChecker,
    CookieJar,
    PrivateKey,
    PresharedKey,
    SharedSecret,
    noise::InitiationSent,
    noise::ReceivedResponse,
    noise::ReceivedInitiation,
    noise::IdentifiedInitiation,
    noise::InitiationReceived,
    noise::TransportKeys,
);

#[cfg(feature = "rustcrypto")]
unclonable!(crate::aead::RustCryptoAead);

#[cfg(feature = "ring")]
unclonable!(crate::aead::RingAead);
