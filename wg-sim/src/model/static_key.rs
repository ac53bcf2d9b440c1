//! A static key that remembers what it computed: a Diffie-Hellman is a function, and the same few public keys come again.

use core::cell::RefCell;
use std::collections::HashMap;

use wg_proto::{DhError, PrivateKey, PublicKey, SharedSecret, StaticIdentity};

/// Results that are remembered.
const MOST: usize = 4096;

thread_local! {
    static KNOWN: RefCell<HashMap<[PublicKey; 2], SharedSecret>> = RefCell::default();
}

/// The static key of a host.
#[derive(Clone, Debug)]
pub(super) struct StaticKey {
    private: PrivateKey,
    public: PublicKey,
}

impl From<PrivateKey> for StaticKey {
    fn from(private: PrivateKey) -> Self {
        let public = private.public_key();
        Self { private, public }
    }
}

impl StaticIdentity for StaticKey {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
        KNOWN.with_borrow_mut(|known| {
            if let Some(secret) = known.get(&[self.public, *their]) {
                return Ok(secret.clone());
            }
            let secret = self.private.diffie_hellman(their)?;
            if known.len() >= MOST {
                known.clear();
            }
            known.insert([self.public, *their], secret.clone());
            Ok(secret)
        })
    }
}
