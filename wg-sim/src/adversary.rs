//! Somebody on the wire: records what passes, sends it again, cuts and joins it, and makes messages from what is public.

use core::net::SocketAddr;

use wg_proto::noise::create_initiation;
use wg_proto::{Mac1Key, PrivateKey, PublicKey, SessionIndex, Tai64n};

use crate::draw::Draw;
use crate::script::Forgery;

/// Datagrams that are kept, the latest.
const KEPT: usize = 4096;

/// A datagram that passed by.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// The datagram it is; it is held for as long as this is.
    pub(crate) datagram: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Adversary {
    pub(crate) records: Vec<Recorded>,
    pub(crate) recording: bool,
    next: usize,
}

/// The address of the adversary, or one of them.
pub(crate) fn address(which: u8) -> SocketAddr {
    ([198, 51, 100, which], 4000).into()
}

impl Adversary {
    /// Keeps a datagram, and returns the one that made room for it.
    pub(crate) fn record(&mut self, recorded: Recorded) -> Option<Recorded> {
        if self.records.len() < KEPT {
            self.records.push(recorded);
            return None;
        }
        self.next = (self.next + 1) % KEPT;
        Some(core::mem::replace(&mut self.records[self.next], recorded))
    }

    /// Returns a record by its number, modulo how many there are.
    pub(crate) fn recall(&self, number: u16) -> Option<&Recorded> {
        self.records.get(usize::from(number).checked_rem(self.records.len())?)
    }
}

/// What can be seen of a host: its public key, and an index that it uses.
pub(crate) struct Victim {
    pub(crate) public_key: PublicKey,
    pub(crate) index: u32,
}

/// Makes a message out of what is public.
pub(crate) fn forge(what: Forgery, victim: &Victim, now: Tai64n, draw: &mut Draw) -> Vec<u8> {
    let mac1 = Mac1Key::new(&victim.public_key);
    let mut junk = |len: usize, kind: u8| {
        let mut message = vec![0; len];
        draw.fill(&mut message);
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        message
    };
    match what {
        Forgery::Junk => {
            let len = draw.index(256);
            let mut message = vec![0; len];
            draw.fill(&mut message);
            message
        }
        Forgery::WrongMac1 => junk(148, 1),
        Forgery::RightMac1 => {
            let mut message = junk(148, 1);
            message[132..].fill(0);
            mac1.write(&mut message);
            message
        }
        Forgery::Stranger => {
            let mut secrets = [[0; 32]; 2];
            secrets.iter_mut().for_each(|secret| draw.fill(secret));
            let [own, ephemeral] = secrets.map(PrivateKey::from_bytes);
            let index = SessionIndex::new(u32::from_le_bytes(
                draw.any().to_le_bytes()[..4].try_into().unwrap_or_default(),
            ));
            let Ok(secret) = own.diffie_hellman(&victim.public_key) else { return Vec::new() };
            match create_initiation(&own.public_key(), &victim.public_key, &secret, now, ephemeral, index) {
                Ok((_, mut message)) => {
                    mac1.write(&mut message);
                    message.to_vec()
                }
                Err(_) => Vec::new(),
            }
        }
        Forgery::Response => {
            let mut message = junk(92, 2);
            message[8..12].copy_from_slice(&victim.index.to_le_bytes());
            message[76..].fill(0);
            mac1.write(&mut message);
            message
        }
        Forgery::CookieReply => {
            let mut message = junk(64, 3);
            message[4..8].copy_from_slice(&victim.index.to_le_bytes());
            message
        }
        Forgery::Data => {
            let len = 32 + 16 * draw.index(8);
            let mut message = vec![0; len];
            draw.fill(&mut message);
            message[..4].copy_from_slice(&[4, 0, 0, 0]);
            message[4..8].copy_from_slice(&victim.index.to_le_bytes());
            let ahead = draw.one_of(&[1, 5000, 1 << 40, u64::MAX - 9000, u64::MAX]);
            message[8..16].copy_from_slice(&u64::to_le_bytes(ahead));
            message
        }
    }
}
