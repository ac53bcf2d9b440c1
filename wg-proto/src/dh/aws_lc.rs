//! The `aws-lc-rs` backend: assembly for x86-64 and aarch64. It needs the standard library and allocates for each key and
//! each secret.
//!
//! AWS-LC overwrites what it frees, so the heap keeps neither keys nor secrets. It overwrites its stack frames in part only,
//! and registers never: like what the portable backend leaves there, that goes with the dead stack
//! ([`with_wiped_stack`](crate::with_wiped_stack)).

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519, agree};

use super::Dh;
use crate::key::{
    DhError, KEY_LEN, PrivateKey, PublicKey, SharedSecret, StaticIdentity, count_multiplication,
};

/// A private key of the `aws-lc-rs` backend, wiped on drop.
pub struct AwsLcDh {
    private: PrivateKey,
    /// As the library holds it, made once, as that costs a multiplication of the base point. None if there was no memory for
    /// it: the portable backend computes the same.
    imported: Option<agreement::PrivateKey>,
}

impl Dh for AwsLcDh {
    fn new(key: PrivateKey) -> Self {
        let imported = agreement::PrivateKey::from_private_key(&X25519, key.as_bytes()).ok();
        Self { private: key, imported }
    }

    fn as_private_key(&self) -> &PrivateKey {
        &self.private
    }
}

impl StaticIdentity for AwsLcDh {
    fn public_key(&self) -> PublicKey {
        let computed = self.imported.as_ref().and_then(|key| key.compute_public_key().ok());
        let bytes = computed.and_then(|public| <[u8; KEY_LEN]>::try_from(public.as_ref()).ok());
        let Some(bytes) = bytes else { return self.private.public_key() };
        count_multiplication();
        PublicKey::from_bytes(bytes)
    }

    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
        let Some(key) = &self.imported else { return Ok(self.private.diffie_hellman(their)?) };
        count_multiplication();
        // The library refuses an all-zero result as well; it has no other reason to refuse 32 bytes but want of memory.
        agree(key, UnparsedPublicKey::new(&X25519, their.as_bytes()), DhError::LowOrder, |shared| {
            let shared = <[u8; KEY_LEN]>::try_from(shared).map_err(|_| DhError::LowOrder)?;
            Ok(SharedSecret::new(shared)?)
        })
    }

    #[cfg(feature = "key-log")]
    fn private_key(&self) -> Option<&PrivateKey> {
        Some(&self.private)
    }
}

#[cfg(feature = "test-util")]
impl Clone for AwsLcDh {
    fn clone(&self) -> Self {
        Self::new(self.private.duplicate())
    }
}

impl core::fmt::Debug for AwsLcDh {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("AwsLcDh(..)")
    }
}
