//! The responder: e, es, s, ss in; e, ee, se, psk out.

use super::symmetric::{SymmetricState, TransportKeys};
use super::{HandshakeError, Role};
use crate::dh::Dh;
use crate::index::SessionIndex;
use crate::key::{PresharedKey, PublicKey, SharedSecret};
use crate::time::Tai64n;
use crate::wire::{Initiation, RESPONSE_LEN, Response, TAG_LEN};

/// An initiation on its way in: it needs `es`, and may be carried to another core to get it.
pub struct ReceivedInitiation {
    state: SymmetricState,
    remote_ephemeral: PublicKey,
    encrypted_static: [u8; 32 + TAG_LEN],
    encrypted_timestamp: [u8; 12 + TAG_LEN],
    remote_index: SessionIndex,
}

impl ReceivedInitiation {
    /// Begins to consume an initiation sent to the owner of `local_static`. MAC1 must have been checked before.
    #[must_use]
    pub fn begin(local_static: &PublicKey, initiation: &Initiation<'_>) -> Self {
        let mut state = SymmetricState::initialize(local_static);
        state.mix_ephemeral(initiation.unencrypted_ephemeral()); // e
        Self {
            state,
            remote_ephemeral: PublicKey::from_bytes(*initiation.unencrypted_ephemeral()),
            encrypted_static: *initiation.encrypted_static(),
            encrypted_timestamp: *initiation.encrypted_timestamp(),
            remote_index: initiation.sender_index(),
        }
    }

    /// Returns the key whose Diffie-Hellman with our static key is `es`.
    #[must_use]
    pub const fn static_dh(&self) -> &PublicKey {
        &self.remote_ephemeral
    }

    /// Opens the initiator's static key.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Unauthentic`].
    pub fn open_static(mut self, es: &SharedSecret) -> Result<IdentifiedInitiation, HandshakeError> {
        let key = self.state.mix_dh_key(es); // es
        let mut remote_static = [0; 32];
        self.state.decrypt_and_hash(&key, &self.encrypted_static, &mut remote_static)?; // s
        Ok(IdentifiedInitiation { received: self, remote_static: PublicKey::from_bytes(remote_static) })
    }

    /// Shows chaining key and hash, for known-answer tests.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub const fn reveal(&self) -> ([u8; 32], [u8; 32]) {
        self.state.reveal()
    }
}

impl core::fmt::Debug for ReceivedInitiation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ReceivedInitiation").field("remote_index", &self.remote_index).finish_non_exhaustive()
    }
}

/// An initiation that names its sender, who has yet to prove it.
#[derive(Debug)]
pub struct IdentifiedInitiation {
    received: ReceivedInitiation,
    remote_static: PublicKey,
}

impl IdentifiedInitiation {
    /// Returns the static key of the one who claims to have sent it.
    #[must_use]
    pub const fn remote_static(&self) -> &PublicKey {
        &self.remote_static
    }

    /// Authenticates the sender by the shared secret of both static keys, and opens the timestamp.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Unauthentic`].
    pub fn open_timestamp(self, static_static: &SharedSecret) -> Result<InitiationReceived, HandshakeError> {
        let Self { mut received, remote_static } = self;
        let key = received.state.mix_dh_key(static_static); // ss
        let mut timestamp = [0; 12];
        received.state.decrypt_and_hash(&key, &received.encrypted_timestamp, &mut timestamp)?;
        Ok(InitiationReceived { received, remote_static, timestamp: Tai64n::from_bytes(timestamp) })
    }

    /// Shows chaining key and hash, for known-answer tests.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub const fn reveal(&self) -> ([u8; 32], [u8; 32]) {
        self.received.reveal()
    }
}

/// An authenticated initiation, ready to be answered once its timestamp was accepted.
#[derive(Debug)]
pub struct InitiationReceived {
    received: ReceivedInitiation,
    remote_static: PublicKey,
    timestamp: Tai64n,
}

impl InitiationReceived {
    /// Returns the initiator's timestamp.
    #[must_use]
    pub const fn timestamp(&self) -> Tai64n {
        self.timestamp
    }

    /// Returns the initiator's index.
    #[must_use]
    pub const fn remote_index(&self) -> SessionIndex {
        self.received.remote_index
    }

    /// Returns the initiator's static key.
    #[must_use]
    pub const fn remote_static(&self) -> &PublicKey {
        &self.remote_static
    }

    /// Creates the response, its MACs still zero, and derives the transport keys.
    ///
    /// `ephemeral` must be fresh: one per message. Its type is the backend that computes with it.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::LowOrder`].
    pub fn create_response<D: Dh>(
        self,
        local_index: SessionIndex,
        ephemeral: &D,
        psk: &PresharedKey,
    ) -> Result<(TransportKeys, [u8; RESPONSE_LEN]), HandshakeError> {
        let ReceivedInitiation { mut state, remote_ephemeral, remote_index, .. } = self.received;
        let ephemeral_public = ephemeral.public_key();
        state.mix_ephemeral(ephemeral_public.as_bytes()); // e
        state.mix_dh(&ephemeral.diffie_hellman(&remote_ephemeral)?); // ee
        state.mix_dh(&ephemeral.diffie_hellman(&self.remote_static)?); // se
        let key = state.mix_psk(psk); // psk
        let mut encrypted_nothing = [0; TAG_LEN];
        state.encrypt_and_hash(&key, &[], &mut encrypted_nothing)?;
        let message =
            Response::write(local_index, remote_index, ephemeral_public.as_bytes(), &encrypted_nothing);
        Ok((state.split(Role::Responder, local_index, remote_index), message))
    }

    /// Shows chaining key and hash, for known-answer tests.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub const fn reveal(&self) -> ([u8; 32], [u8; 32]) {
        self.received.reveal()
    }
}
