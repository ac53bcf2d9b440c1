//! A peer of the gateway: it begins the session, and seals what the gateway is to receive.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use wg_datapath::Now;
use wg_datapath::proto::aead::RingAead;
use wg_datapath::proto::{Config, Endpoint, Handled, Load, Peer, PrivateKey, PublicKey};

/// A peer, and the packet that it sends.
pub(super) struct Remote {
    peer: Peer<PrivateKey, RingAead>,
    gateway: Endpoint,
    packet: Vec<u8>,
    buffer: Vec<u8>,
    now: Now,
    rng: ChaCha20Rng,
}

impl Remote {
    pub(super) fn new(
        key: PrivateKey,
        gateway: (PublicKey, Endpoint),
        packet: Vec<u8>,
        (seed, now): (u64, Now),
    ) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let config = Config { endpoint: Some(gateway.1.remote), ..Config::new(gateway.0) };
        let peer = Peer::new(key, config, &mut rng).expect("a usable key");
        Self { peer, gateway: gateway.1, packet, buffer: vec![0; 2048], now, rng }
    }

    /// The first message of a handshake.
    pub(super) fn initiation(&mut self) -> &[u8] {
        let Now { instant, wall } = self.now;
        self.peer.initiate(instant);
        let sent = self.peer.poll_transmit(&mut self.buffer, instant, wall, &mut self.rng);
        let sent = sent.expect("the buffer is long enough").expect("an initiation");
        &self.buffer[..sent.len]
    }

    /// Takes in the answer to it.
    pub(super) fn answered(&mut self, mut response: Vec<u8>) {
        let Now { instant, wall } = self.now;
        let handled =
            self.peer.handle(&mut response, self.gateway, Load::Normal, instant, wall, &mut self.rng);
        assert!(matches!(handled, Ok(Handled::Handshake)), "the answer is right");
    }

    /// The packet, sealed once more.
    pub(super) fn seal(&mut self) -> &[u8] {
        let sealed = self.peer.seal(&self.packet, &mut self.buffer, self.now.instant);
        &self.buffer[..sealed.expect("it has a session")]
    }
}
