//! Captures as files that other programs read: pcap, each record an IP packet without a link layer.

use core::net::SocketAddr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::capture::Datagram;

/// `LINKTYPE_RAW`: a record starts with its IP header.
const RAW: u32 = 101;

/// A file of UDP datagrams, in the order in which they are written.
#[derive(Debug)]
pub struct PcapWriter {
    file: BufWriter<File>,
    records: u32,
}

impl PcapWriter {
    /// Makes the file.
    ///
    /// # Errors
    ///
    /// That of the system.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        // Microseconds, version 2.4, universal time, whole packets.
        for word in [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 0x4_0000, RAW] {
            file.write_all(&u32::to_le_bytes(word))?;
        }
        Ok(Self { file, records: 0 })
    }

    /// Appends a UDP datagram; the time of each is a millisecond after the one before.
    ///
    /// # Errors
    ///
    /// That of the system, and `InvalidInput` for addresses of two families or a payload too long for a datagram.
    pub fn write(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let packet = udp_packet(source, destination, payload)?;
        let length = u32::try_from(packet.len()).map_err(io::Error::other)?;
        let (seconds, micros) = (self.records / 1000, self.records % 1000 * 1000);
        self.records += 1;
        for word in [1_700_000_000 + seconds, micros, length, length] {
            self.file.write_all(&word.to_le_bytes())?;
        }
        self.file.write_all(&packet)
    }

    /// Appends a captured datagram.
    ///
    /// # Errors
    ///
    /// As [`Self::write`]; `InvalidInput` also for one of which only the first fragment was seen.
    pub fn write_captured(&mut self, datagram: &Datagram) -> io::Result<()> {
        if datagram.length != datagram.payload.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a datagram in fragments"));
        }
        self.write(datagram.source, datagram.destination, &datagram.payload)
    }

    /// Writes what is still in memory and returns the number of datagrams.
    ///
    /// # Errors
    ///
    /// That of the system.
    pub fn finish(mut self) -> io::Result<usize> {
        self.file.flush()?;
        usize::try_from(self.records).map_err(io::Error::other)
    }
}

/// Puts the headers of IP and UDP in front of a payload. Checksums that may be left out are.
///
/// # Errors
///
/// `InvalidInput` for addresses of two families or a payload too long for a datagram.
pub fn udp_packet(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "no UDP datagram");
    let udp_length = u16::try_from(payload.len() + 8).map_err(|_| invalid())?;
    let mut packet = Vec::with_capacity(payload.len() + 48);
    match (source, destination) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            let total = udp_length.checked_add(20).ok_or_else(invalid)?;
            packet.extend([0x45, 0]);
            packet.extend(total.to_be_bytes());
            packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
            packet.extend(from.ip().octets());
            packet.extend(to.ip().octets());
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(udp_length.to_be_bytes());
            packet.extend([17, 64]);
            packet.extend(from.ip().octets());
            packet.extend(to.ip().octets());
        }
        _ => return Err(invalid()),
    }
    packet.extend(source.port().to_be_bytes());
    packet.extend(destination.port().to_be_bytes());
    packet.extend(udp_length.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_length_and_addresses() {
        let (a, b) = ("10.0.0.1:7".parse().unwrap(), "10.0.0.2:9".parse().unwrap());
        let packet = udp_packet(a, b, &[1, 2, 3]).unwrap();
        assert_eq!((packet.len(), packet[3], packet[25]), (31, 31, 11));
        let six = udp_packet("[::1]:7".parse().unwrap(), "[::2]:9".parse().unwrap(), &[1, 2, 3]).unwrap();
        assert_eq!((six.len(), six[5], six[45]), (51, 11, 11));
        assert!(udp_packet(a, "[::2]:9".parse().unwrap(), &[]).is_err());
        assert!(udp_packet(a, b, &[0; 65_530]).is_err());
    }
}
