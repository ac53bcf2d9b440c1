//! The datagrams of a flood, made before it begins as far as possible.

use core::net::{Ipv4Addr, SocketAddrV4};

use std::time::{SystemTime, UNIX_EPOCH};

use wg_proto::noise::create_initiation;
use wg_proto::wire::CookieReply;
use wg_proto::{CookieJar, Instant, Mac1Key, PrivateKey, PublicKey, SessionIndex, Tai64n, UnixTime};

use super::{Kind, PORT, VERIFIED_SOURCES, source};
use crate::key::Key;

const IP_HEADER: usize = 20;
const HEADERS: usize = IP_HEADER + 8;
const LONGEST: usize = HEADERS + 148;
/// The protocol number of UDP.
const UDP: u8 = 17;
/// Different initiations in a flood whose sources do not matter.
const TEMPLATES: u32 = 64;
/// A forged data message: header, 64 bytes inside, tag.
const DATA: usize = 16 + 64 + 16;
/// Far ahead of what an honest sender has reached, and far from any limit.
const FIRST_COUNTER: u64 = 1 << 40;

/// A packet from its IP header on.
#[derive(Debug)]
pub(super) struct Packet {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Default for Packet {
    fn default() -> Self {
        Self { bytes: [0; LONGEST], len: HEADERS }
    }
}

impl Packet {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) const fn payload_len(&self) -> usize {
        self.len - HEADERS
    }

    /// The kernel adds identification and checksum of the IP header; that of UDP may be left out.
    fn write(&mut self, from: Ipv4Addr, to: SocketAddrV4, payload: &[u8]) {
        self.len = HEADERS + payload.len();
        let bytes = &mut self.bytes;
        bytes[0] = 0x45;
        let total = u16::try_from(self.len).expect("a short packet");
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        (bytes[8], bytes[9]) = (64, UDP);
        bytes[12..16].copy_from_slice(&from.octets());
        bytes[16..20].copy_from_slice(&to.ip().octets());
        bytes[20..22].copy_from_slice(&PORT.to_be_bytes());
        bytes[22..24].copy_from_slice(&to.port().to_be_bytes());
        bytes[24..26].copy_from_slice(&(total - 20).to_be_bytes());
        bytes[26..28].fill(0);
        bytes[HEADERS..self.len].copy_from_slice(payload);
    }
}

/// Somebody who receives at the address he sends from.
#[derive(Debug)]
struct Host {
    message: [u8; 148],
    jar: CookieJar,
}

/// What the next datagram is taken from.
#[derive(Debug)]
pub(super) struct Messages {
    target: SocketAddrV4,
    public: PublicKey,
    mac1: Mac1Key,
    next: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Initiations(Vec<[u8; 148]>),
    Data([u8; DATA]),
    Hosts(Vec<Host>),
}

impl Messages {
    pub(super) fn new(kind: Kind, target: SocketAddrV4, public: &Key) -> Self {
        let public = PublicKey::from_bytes(*public.as_bytes());
        let mac1 = Mac1Key::new(&public);
        let signed = |number| {
            let mut message = initiation(&public, number);
            mac1.write(&mut message);
            message
        };
        let content = match kind {
            Kind::RightMac1 => Content::Initiations((0..TEMPLATES).map(signed).collect()),
            Kind::WrongMac1 => {
                let wrong = |number| {
                    let mut message = signed(number);
                    message[116] ^= 1;
                    message
                };
                Content::Initiations((0..TEMPLATES).map(wrong).collect())
            }
            Kind::LiveIndex(_) => {
                let mut message = [0xa5; DATA];
                message[..4].copy_from_slice(&[4, 0, 0, 0]);
                Content::Data(message)
            }
            Kind::Verified => {
                let host = |number: u16| Host {
                    message: initiation(&public, number.into()),
                    jar: CookieJar::default(),
                };
                Content::Hosts((0..VERIFIED_SOURCES).map(host).collect())
            }
        };
        let mut messages = Self { target, public, mac1, next: 0, content };
        if let Content::Hosts(hosts) = &mut messages.content {
            for host in hosts {
                host.jar.write_macs(&messages.mac1, &mut host.message, now());
            }
        }
        messages
    }

    /// Whether cookies that come back are of use.
    pub(super) const fn wants_answers(&self) -> bool {
        matches!(self.content, Content::Hosts(_))
    }

    /// Writes the next datagram.
    pub(super) fn next(&mut self, packet: &mut Packet, index: u32) {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        match &mut self.content {
            Content::Initiations(messages) => {
                let message = &messages[number as usize % messages.len()];
                packet.write(source(any_source(number)), self.target, message);
            }
            Content::Data(message) => {
                message[4..8].copy_from_slice(&index.to_le_bytes());
                message[8..16].copy_from_slice(&(FIRST_COUNTER + u64::from(number)).to_le_bytes());
                packet.write(source(any_source(number)), self.target, message);
            }
            Content::Hosts(hosts) => {
                let host = number % u32::from(VERIFIED_SOURCES);
                let host = u16::try_from(host).expect("less than their number");
                packet.write(source(host), self.target, &hosts[usize::from(host)].message);
            }
        }
    }

    /// Takes in an answer, and tells whether it was a cookie that the host it was for can use. The index of a message is
    /// the number of its host.
    pub(super) fn take_cookie(&mut self, answer: &[u8]) -> bool {
        let Content::Hosts(hosts) = &mut self.content else { return false };
        let Ok(reply) = CookieReply::parse(answer) else { return false };
        let Some(host) = hosts.get_mut(reply.receiver_index().get() as usize) else { return false };
        let taken = host.jar.consume_reply(&self.public, &reply, now()).is_ok();
        // The message is sent again as it is, but for its MAC2.
        host.jar.write_macs(&self.mac1, &mut host.message, now());
        taken
    }
}

/// Goes through all the sources, in no order.
fn any_source(number: u32) -> u16 {
    let [.., high, low] = number.wrapping_mul(40_503).to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The initiation of somebody who is nobody's peer: whole, so that it costs what a genuine one does until that shows.
fn initiation(to: &PublicKey, number: u32) -> [u8; 148] {
    let private = PrivateKey::from_bytes(*Key::random().as_bytes());
    let ephemeral = PrivateKey::from_bytes(*Key::random().as_bytes());
    let secret = private.diffie_hellman(to).expect("the key of a victim is none of low order");
    let stamp = Tai64n::from_unix(wall());
    let index = SessionIndex::new(number);
    let made = create_initiation(&private.public_key(), to, &secret, stamp, ephemeral, index);
    made.expect("nor does the ephemeral key fail").1
}

/// The time of day in place of a monotonic clock: a cookie is used for two minutes at most.
fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The time of day.
pub(crate) fn wall() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::new(since.as_secs(), since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sources_are_all_of_the_prefix() {
        let seen: HashSet<u16> = (0..1 << 16).map(any_source).collect();
        assert_eq!(seen.len(), 1 << 16);
    }

    #[test]
    fn packets_carry_their_message() {
        let mut packet = Packet::default();
        packet.write(source(258), "10.2.0.1:51820".parse().unwrap(), &[7; 100]);
        let bytes = packet.as_bytes();
        assert_eq!((bytes.len(), packet.payload_len()), (128, 100));
        assert_eq!(bytes[..4], [0x45, 0, 0, 128]);
        assert_eq!(bytes[12..20], [10, 77, 1, 2, 10, 2, 0, 1]);
        assert_eq!(bytes[22..28], [0xca, 0x6c, 0, 108, 0, 0]);
    }

    #[test]
    fn only_the_right_kind_has_a_right_mac1() {
        let private = PrivateKey::from_bytes([3; 32]);
        let public = Key::from_bytes(*private.public_key().as_bytes());
        let mac1 = Mac1Key::new(&private.public_key());
        for (kind, right) in [(Kind::RightMac1, true), (Kind::WrongMac1, false), (Kind::Verified, true)] {
            let mut messages = Messages::new(kind, "10.2.0.1:51820".parse().unwrap(), &public);
            let mut packet = Packet::default();
            messages.next(&mut packet, 0);
            assert_eq!(mac1.verify(&packet.as_bytes()[HEADERS..]), right, "{kind:?}");
        }
    }
}
