//! A peer that is authentic and not to be trusted: it has a session, and seals into it whatever the test wants.

use wg_datapath::proto::aead::RingAead;
use wg_datapath::proto::{Config, Endpoint, Load, Peer, PrivateKey};

use crate::edges::{Entropy, Raw};
use crate::rig::{B, Rig, outer, private_key, public_key};

/// The insider plays an end, towards `B`.
pub(crate) struct Insider {
    peer: Peer<PrivateKey, RingAead>,
    at: Endpoint,
}

impl Insider {
    /// Shakes hands with `B` in the name of an end, and confirms.
    pub(crate) fn connect(rig: &mut Rig, end: usize) -> Self {
        let mut entropy = Entropy::new(1000);
        let config = Config { endpoint: Some(outer(B)), mtu: 1, ..Config::new(public_key(B)) };
        let peer = Peer::new(private_key(end), config, &mut entropy).unwrap();
        let mut insider = Self { peer, at: Endpoint::new(outer(end)) };
        let now = rig.now;
        insider.peer.initiate(now.instant);
        let mut out = [0; 148];
        let sent =
            insider.peer.poll_transmit(&mut out, now.instant, now.wall, &mut entropy).unwrap().unwrap();
        rig.sent();
        rig[B].udp.raw.push_back(Raw::new(&out[..sent.len], insider.at));
        rig.run(B);
        let mut response = rig.sent_one().bytes;
        let from = Endpoint::new(outer(B));
        insider
            .peer
            .handle(&mut response, from, Load::Normal, now.instant, now.wall, &mut entropy)
            .expect("a response");
        let keepalive = insider.seal(rig, &[]);
        rig[B].udp.raw.push_back(keepalive);
        rig.run(B);
        insider
    }

    /// Seals bytes as they are, without padding; nothing makes a keepalive.
    pub(crate) fn seal(&mut self, rig: &Rig, content: &[u8]) -> Raw {
        // With the length as MTU there is no padding.
        self.peer.set_mtu(content.len());
        let mut datagram = vec![0; content.len() + 32];
        let len = self.peer.seal(content, &mut datagram, rig.now.instant).expect("a session");
        assert_eq!(len, datagram.len());
        Raw::new(&datagram, self.at)
    }
}
