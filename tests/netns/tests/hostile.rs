//! Datagrams that no honest peer sends: the program survives each, answers none, and the next good packet passes.

use core::net::SocketAddr;
use core::time::Duration;

use wg_netns::capture::Capture;
use wg_netns::inject::Injector;
use wg_netns::{Family, Pair, for_each_pair};

/// Longer than any answer takes.
const SILENCE: Duration = Duration::from_millis(500);
/// Message types and their exact lengths; data has no fixed one.
const INITIATION: (u8, usize) = (1, 148);
const RESPONSE: (u8, usize) = (2, 92);
const COOKIE_REPLY: (u8, usize) = (3, 64);
const DATA: (u8, usize) = (4, 32);
/// The largest UDP payloads of IPv4 and IPv6.
const LARGEST_V4: usize = 65_507;
const LARGEST_V6: usize = 65_527;

for_each_pair! {
    /// C6, C7: lengths that no message has, of every content that could be taken for a type.
    fn odd_lengths_are_survived(programs: [Program; 2]) {
        for family in Family::BOTH {
            let largest = if family == Family::V4 { LARGEST_V4 } else { LARGEST_V6 };
            let lengths = [0, 1, 2, 3, 4, 5, 31, 33, 63, 65, 91, 93, 147, 149, 1500, 2048, 4096, largest - 1, largest];
            let datagrams = lengths.into_iter().flat_map(|length| {
                [0, 1, 2, 3, 4, 5, 255].map(|first| {
                    let mut datagram = vec![0; length];
                    if let Some(byte) = datagram.first_mut() {
                        *byte = first;
                    }
                    datagram
                })
            });
            survives(programs, family, |_| datagrams.collect());
        }
    }

    /// C1, C8, C75: exact lengths with unknown types, reserved bytes that are not zero, and indices of nobody.
    fn unknown_types_and_indices_are_survived(programs: [Program; 2]) {
        let mut datagrams = Vec::new();
        for (kind, length) in [INITIATION, RESPONSE, COOKIE_REPLY, DATA, (DATA.0, 1452)] {
            for index in [0_u32, 1, 0x8000_0000, u32::MAX] {
                let mut datagram = vec![0xa5; length];
                datagram[..4].copy_from_slice(&[kind, 0, 0, 0]);
                datagram[4..8].copy_from_slice(&index.to_le_bytes());
                datagrams.push(datagram.clone());
                for reserved in 1..4 {
                    let mut other = datagram.clone();
                    other[reserved] = 1;
                    datagrams.push(other);
                }
                for unknown in [0, 5, 6, 0x10, 0x45, 0x60, 0x80, 0xff] {
                    let mut other = datagram.clone();
                    other[0] = unknown;
                    datagrams.push(other);
                }
            }
        }
        survives(programs, Family::V4, |_| datagrams);
    }

    /// C2, C3, C5, C37, C76: real messages, cut short at every length and with one byte added.
    fn truncations_of_real_messages_are_survived(programs: [Program; 2]) {
        survives(programs, Family::V4, |real| {
            let mut datagrams = Vec::new();
            for message in real {
                datagrams.extend((0..message.len()).map(|length| message[..length].to_vec()));
                datagrams.push([message, &[0][..]].concat());
            }
            datagrams
        });
    }

    /// C26, C32, C37, C76, C86: real messages with one bit turned, at every byte.
    fn corruptions_of_real_messages_are_survived(programs: [Program; 2]) {
        survives(programs, Family::V6, |real| {
            let mut datagrams = Vec::new();
            for message in real {
                for at in 0..message.len() {
                    let mut corrupted = message.to_vec();
                    corrupted[at] ^= 1 << (at % 8);
                    // An initiation whose second MAC alone differs is still good: nobody is under load.
                    if !(message[0] == INITIATION.0 && at >= 132) {
                        datagrams.push(corrupted);
                    }
                }
            }
            datagrams
        });
    }
}

/// Lets the pair talk, sends what `datagrams` makes of the real messages to the first node, as a stranger and as the
/// peer's own host, and looks at what that does.
fn survives(
    programs: [wg_netns::Program; 2],
    family: Family,
    datagrams: impl FnOnce(&[&[u8]]) -> Vec<Vec<u8>>,
) {
    let mut pair = Pair::acquainted(programs, family);
    let capture = Capture::start(&pair.a.namespace);
    assert!(pair.a.reaches(&pair.b, Family::V4));
    assert!(pair.b.reaches(&pair.a, Family::V4));
    let real = capture.matching(|datagram| datagram.destination.port() == wg_netns::node::PORT);
    let real: Vec<&[u8]> = real.iter().map(|datagram| &datagram.payload[..]).collect();
    for (kind, _) in [INITIATION, RESPONSE, DATA] {
        assert!(real.iter().any(|message| message[0] == kind), "no message of type {kind} seen");
    }
    let before = pair.a.peer(&pair.b);
    let source = SocketAddr::new(pair.b.second_outer(family), 0);
    let injector = Injector::new(&pair.b.namespace, source, pair.a.endpoint(family));
    let datagrams = datagrams(&real);
    assert!(!datagrams.is_empty());
    for (sent, datagram) in datagrams.iter().enumerate() {
        injector.send(datagram);
        // The receiver must see them all, so its socket gets no chance to overflow.
        if sent % 16 == 15 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert_eq!(injector.answers(SILENCE), Vec::<Vec<u8>>::new());
    let answers = capture.matching(|datagram| datagram.destination == injector.address());
    assert_eq!(answers, []);
    assert!(pair.a.tunnel.is_running());
    assert_eq!(pair.a.peer(&pair.b), before, "the state of the peer has changed");
    // The session of before still serves: the peer did not have to begin a new one.
    assert!(pair.b.reaches(&pair.a, Family::V4) && pair.a.reaches(&pair.b, Family::V6));
    assert_eq!(pair.a.peer(&pair.b).latest_handshake, before.latest_handshake);
}
