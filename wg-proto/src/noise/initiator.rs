//! The initiator: e, es, s, ss out; e, ee, se, psk back.

use super::symmetric::{SymmetricState, TransportKeys};
use super::{HandshakeError, Role};
use crate::dh::Dh;
use crate::index::SessionIndex;
use crate::key::{PresharedKey, PrivateKey, PublicKey, SharedSecret};
use crate::time::Tai64n;
use crate::wire::{INITIATION_LEN, Initiation, Response, TAG_LEN};

/// A sent initiation that waits for its response. Wiped on drop.
#[cfg_attr(feature = "test-util", derive(Clone))]
pub struct InitiationSent {
    state: SymmetricState,
    ephemeral: PrivateKey,
    sender_index: SessionIndex,
}

/// Creates an initiation, its MACs still zero.
///
/// `static_static` is the shared secret of both static keys; `ephemeral` must be fresh: one per message (C14). Its type is
/// the backend that computes with it.
///
/// # Errors
///
/// [`HandshakeError::LowOrder`] if the peer's static key is a point of low order.
pub fn create_initiation<D: Dh>(
    local_static: &PublicKey,
    remote_static: &PublicKey,
    static_static: &SharedSecret,
    timestamp: Tai64n,
    ephemeral: D,
    sender_index: SessionIndex,
) -> Result<(InitiationSent, [u8; INITIATION_LEN]), HandshakeError> {
    let mut state = SymmetricState::initialize(remote_static);
    let ephemeral_public = ephemeral.public_key();
    state.mix_ephemeral(ephemeral_public.as_bytes()); // e
    let key = state.mix_dh_key(&ephemeral.diffie_hellman(remote_static)?); // es
    let mut encrypted_static = [0; 32 + TAG_LEN];
    state.encrypt_and_hash(&key, local_static.as_bytes(), &mut encrypted_static)?; // s
    let key = state.mix_dh_key(static_static); // ss
    let mut encrypted_timestamp = [0; 12 + TAG_LEN];
    state.encrypt_and_hash(&key, timestamp.as_bytes(), &mut encrypted_timestamp)?;
    let message =
        Initiation::write(sender_index, ephemeral_public.as_bytes(), &encrypted_static, &encrypted_timestamp);
    let ephemeral = ephemeral.as_private_key().duplicate();
    Ok((InitiationSent { state, ephemeral, sender_index }, message))
}

impl InitiationSent {
    /// Returns the index this initiation goes by.
    #[must_use]
    pub const fn sender_index(&self) -> SessionIndex {
        self.sender_index
    }

    #[cfg(feature = "key-log")]
    pub(crate) const fn ephemeral(&self) -> &PrivateKey {
        &self.ephemeral
    }

    /// Begins to consume a response. Nothing of `self` changes, whatever comes of it (C37).
    #[must_use]
    pub fn begin_response(&self, response: &Response<'_>) -> ReceivedResponse {
        let mut state = self.state.clone();
        state.mix_ephemeral(response.unencrypted_ephemeral()); // e
        ReceivedResponse {
            state,
            ephemeral: self.ephemeral.duplicate(),
            remote_ephemeral: PublicKey::from_bytes(*response.unencrypted_ephemeral()),
            encrypted_nothing: *response.encrypted_nothing(),
            local_index: self.sender_index,
            remote_index: response.sender_index(),
        }
    }

    /// Shows chaining key and hash, for known-answer tests.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub const fn reveal(&self) -> ([u8; 32], [u8; 32]) {
        self.state.reveal()
    }
}

impl core::fmt::Debug for InitiationSent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("InitiationSent").field("sender_index", &self.sender_index).finish_non_exhaustive()
    }
}

/// A response on its way in: it needs `se`, and may be carried to another core to get it. Wiped on drop.
pub struct ReceivedResponse {
    state: SymmetricState,
    ephemeral: PrivateKey,
    remote_ephemeral: PublicKey,
    encrypted_nothing: [u8; TAG_LEN],
    local_index: SessionIndex,
    remote_index: SessionIndex,
}

impl ReceivedResponse {
    /// Returns the key whose Diffie-Hellman with our static key is `se`.
    #[must_use]
    pub const fn static_dh(&self) -> &PublicKey {
        &self.remote_ephemeral
    }

    /// Returns the index of the initiation it answers.
    #[must_use]
    pub const fn local_index(&self) -> SessionIndex {
        self.local_index
    }

    /// Authenticates the response and derives the transport keys. `D` is the backend that computes `ee`.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::LowOrder`] or [`HandshakeError::Unauthentic`].
    pub fn finish<D: Dh>(
        mut self,
        se: &SharedSecret,
        psk: &PresharedKey,
    ) -> Result<TransportKeys, HandshakeError> {
        let ephemeral = D::new(self.ephemeral.duplicate());
        self.state.mix_dh(&ephemeral.diffie_hellman(&self.remote_ephemeral)?); // ee
        self.state.mix_dh(se); // se
        let key = self.state.mix_psk(psk); // psk
        self.state.decrypt_and_hash(&key, &self.encrypted_nothing, &mut [])?;
        Ok(self.state.split(Role::Initiator, self.local_index, self.remote_index))
    }
}

impl core::fmt::Debug for ReceivedResponse {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ReceivedResponse").field("local_index", &self.local_index).finish_non_exhaustive()
    }
}
