//! What a frame on the line holds: a datagram with the address at its far end, a command to the board, or a line of text
//! from it. The first byte tells which; an address is four bytes and a port, big-endian.

use core::net::{Ipv4Addr, SocketAddrV4};

use crate::slip::encode;

/// What a frame of the longest kind has before its content.
pub const HEADER_LEN: usize = 7;

const DATAGRAM: u8 = 0;
const COMMAND: u8 = 1;
const TEXT: u8 = 2;

/// The content of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A datagram to that address, if the board sends it, or from it.
    Datagram(SocketAddrV4, &'a mut [u8]),
    /// A command to the board.
    Command(&'a str),
    /// A line of text from the board.
    Text(&'a str),
}

impl<'a> Frame<'a> {
    /// Reads a frame; none if it is none.
    #[must_use]
    pub fn parse(bytes: &'a mut [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first_mut()?;
        match *kind {
            DATAGRAM => {
                let ([a, b, c, d, high, low], datagram) = rest.split_first_chunk_mut()?;
                let port = u16::from_be_bytes([*high, *low]);
                Some(Self::Datagram(SocketAddrV4::new(Ipv4Addr::new(*a, *b, *c, *d), port), datagram))
            }
            COMMAND => core::str::from_utf8(rest).ok().map(Self::Command),
            TEXT => core::str::from_utf8(rest).ok().map(Self::Text),
            _ => None,
        }
    }

    /// Puts the frame on the line, a byte at a time.
    pub fn write(&self, put: impl FnMut(u8)) {
        match self {
            Self::Datagram(address, datagram) => {
                let [high, low] = address.port().to_be_bytes();
                encode(&[&[DATAGRAM], &address.ip().octets(), &[high, low], datagram], put);
            }
            Self::Command(line) => encode(&[&[COMMAND], line.as_bytes()], put),
            Self::Text(line) => encode(&[&[TEXT], line.as_bytes()], put),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;
    use crate::slip::Decoder;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let address = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 0xc0), 0xdbc0);
        let mut datagram = [0xc0, 1, 2];
        let frames = [
            Frame::Datagram(address, &mut datagram),
            Frame::Datagram(address, &mut []),
            Frame::Command("advance 121"),
            Frame::Text("ready"),
            Frame::Text(""),
        ];
        for frame in frames {
            let mut line = Vec::new();
            frame.write(|byte| line.push(byte));
            let mut decoder = Decoder::<16>::new();
            let read = line.iter().filter_map(|byte| decoder.push(*byte).map(|frame| frame.to_vec()));
            let mut read: Vec<_> = read.collect();
            assert_eq!(read.len(), 1);
            assert_eq!(Frame::parse(&mut read[0]), Some(frame));
        }
    }

    #[test]
    fn other_bytes_are_no_frame() {
        for bytes in [&[][..], &[0; 6], &[3, 1], &[1, 0xff], &[2, 0x80]] {
            assert_eq!(Frame::parse(&mut bytes.to_vec()), None, "{bytes:?}");
        }
    }
}
