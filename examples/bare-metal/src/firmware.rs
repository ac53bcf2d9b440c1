//! The main loop, and the commands that the bench gives over the line.

use core::fmt::{self, Write as _};
use core::net::SocketAddrV4;
use core::time::Duration;

use wg_bare_metal::{Node, Now, Settings};
use wg_serial_bridge::{Decoder, Frame, HEADER_LEN};

use crate::board::clock::Clock;
use crate::board::entropy::Entropy;
use crate::board::memory::Place;
use crate::board::{host, stack, uart};

/// The longest datagram of a tunnel with an MTU of 1420, which leaves room for IPv6 around it.
const DATAGRAM: usize = 1420 + 32;

/// A frame with the longest datagram.
const FRAME: usize = HEADER_LEN + DATAGRAM;

static NODE: Place<Node<Entropy>> = Place::new();
static INCOMING: Place<Decoder<FRAME>> = Place::new();
static OUTGOING: Place<[u8; DATAGRAM]> = Place::new();

/// Runs until the bench says `quit`; returns the exit status.
pub(crate) fn run() -> u32 {
    let mut clock = Clock::start();
    uart::start();
    let (Some(node), Some(incoming), Some(outgoing)) =
        (make_node(clock.now()), make_decoder(), make_buffer())
    else {
        return 2;
    };
    let start_stack = stack::deepest();
    stack::paint();
    say(format_args!("ready"));
    'turns: loop {
        while let Some((len, to)) = node.poll(clock.now(), outgoing) {
            send(outgoing, len, to);
        }
        while let Some(byte) = uart::read() {
            let Some(frame) = incoming.push(byte) else { continue };
            match Frame::parse(frame) {
                Some(Frame::Datagram(from, datagram)) => {
                    if let Some((len, to)) = node.receive(datagram, from, clock.now(), outgoing) {
                        send(outgoing, len, to);
                    }
                }
                Some(Frame::Command(command)) => match command.split_once(' ').unwrap_or((command, "")) {
                    ("advance", seconds) => {
                        clock.advance(Duration::from_secs(seconds.parse().unwrap_or(0)));
                        say(format_args!("advanced"));
                    }
                    ("report", _) => report(node, start_stack),
                    ("quit", _) => return 0,
                    _ => say(format_args!("unknown command")),
                },
                Some(Frame::Text(_)) | None => {}
            }
            // What the peer has to say to that comes before the next frame.
            continue 'turns;
        }
        if node.deadline().is_none_or(|at| at > clock.now().monotonic) {
            // Ends with the next byte, and with the next tick of the clock.
            clock.sleep();
        }
    }
}

// These build what is large on the stack and then move it: frames of their own give that stack back.

#[inline(never)]
fn make_node(now: Now) -> Option<&'static mut Node<Entropy>> {
    let mut line = [0; 256];
    match Settings::parse(host::command_line(&mut line)) {
        Ok(settings) => Node::new(settings, Entropy::open(), now).ok().and_then(|node| NODE.fill(node)),
        Err(error) => {
            say(format_args!("settings: {}", error.0));
            None
        }
    }
}

#[inline(never)]
fn make_decoder() -> Option<&'static mut Decoder<FRAME>> {
    INCOMING.fill(Decoder::new())
}

#[inline(never)]
fn make_buffer() -> Option<&'static mut [u8; DATAGRAM]> {
    OUTGOING.fill([0; DATAGRAM])
}

fn send(out: &mut [u8], len: usize, to: SocketAddrV4) {
    if let Some(datagram) = out.get_mut(..len) {
        Frame::Datagram(to, datagram).write(uart::write);
    }
}

/// What the bench compares with its budget, a name and a number in each line.
fn report(node: &Node<Entropy>, start_stack: usize) {
    let counts = node.counts();
    let rows = [
        ("sessions", counts.sessions as usize),
        ("pings", counts.pings as usize),
        ("dropped", counts.dropped as usize),
        ("ignored", counts.ignored as usize),
        ("peer", Node::<Entropy>::PEER_SIZE),
        ("start-stack", start_stack),
        ("deepest-stack", stack::deepest()),
        ("stack", stack::size()),
    ];
    for (name, number) in rows {
        say(format_args!("{name} {number}"));
    }
    say(format_args!("end"));
}

/// Sends a line of text, cut at 80 bytes.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; 80], len: 0 };
    // What does not fit is cut off, and nothing else can go wrong.
    let _cut = line.write_fmt(text).is_err();
    let line = line.bytes.get(..line.len).and_then(|bytes| core::str::from_utf8(bytes).ok());
    Frame::Text(line.unwrap_or("?")).write(uart::write);
}

struct Line {
    bytes: [u8; 80],
    len: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            *self.bytes.get_mut(self.len).ok_or(fmt::Error)? = byte;
            self.len = self.len.saturating_add(1);
        }
        Ok(())
    }
}
