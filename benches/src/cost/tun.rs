//! The TUN device: packets one by one, and super-frames that the kernel does not cut (TSO, USO).
//!
//! Reads empty a queue that was filled before. What is written is for an address that is not here, so that it is dropped
//! where it would be routed and nothing of the receiver is in the figure. The one read that cannot be filled by hand, of TCP,
//! is measured beside a connection between two devices whose frames are carried to and fro; its figure is the median of the
//! reads.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::thread;
use std::time::Instant;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use wg_aead::Sum;
use wg_netns::tun_fd::{self, PacketInformation};
use wg_netns::{Namespace, cleanup};

use super::{Sample, Source, timed};

const COUNT: usize = 400;
const SUPERS: usize = 32;
/// A `virtio_net_hdr` without the field for merged buffers.
const VNET_HDR: usize = 10;
const IP: usize = 20;
const UDP: usize = 8;
const TCP: usize = 20;
const LONGEST: usize = 70_000;
/// Ours, the one that packets go to and come from, and one that nobody has.
const OURS: [u8; 4] = [10, 8, 0, 1];
const THEIRS: [u8; 4] = [10, 8, 0, 2];
const NOBODY: [u8; 4] = [10, 88, 0, 1];
/// How long the connection lasts in each sample.
const CONNECTION: Duration = Duration::from_millis(60);

/// A device in a namespace of its own, with a queue that holds a sample.
struct Device {
    // Before its namespace.
    fd: OwnedFd,
    namespace: Namespace,
    header: usize,
}

impl Device {
    fn new(address: [u8; 4], offloads: bool) -> io::Result<Self> {
        let namespace = Namespace::new();
        let name = cleanup::unique_name();
        let fd = if offloads {
            tun_fd::open_with_offloads(&namespace, &name)?
        } else {
            tun_fd::open(&namespace, &name, PacketInformation::Absent)?
        };
        rustix::io::ioctl_fionbio(&fd, true)?;
        let [a, b, c, d] = address;
        namespace.ip(&format!("addr add {a}.{b}.{c}.{d}/24 dev {name}"));
        namespace.ip(&format!("link set {name} mtu 1420 txqueuelen 1000 up"));
        Ok(Self { fd, namespace, header: if offloads { VNET_HDR } else { 0 } })
    }

    fn socket(&self) -> io::Result<UdpSocket> {
        let socket = self.namespace.enter(|| UdpSocket::bind(SocketAddr::from((OURS, 0))))?;
        socket.connect(SocketAddr::from((THEIRS, 9)))?;
        Ok(socket)
    }

    /// Reads until nothing is left.
    fn drain(&self, buffer: &mut [u8]) {
        while rustix::io::read(&self.fd, &mut *buffer).is_ok() {}
    }

    /// Reads `count` frames, which must all be of one length.
    fn read(&self, buffer: &mut [u8], count: usize, length: usize) -> io::Result<Duration> {
        let (time, result) = timed(|| {
            for _ in 0..count {
                let read = rustix::io::read(&self.fd, &mut *buffer)?;
                if read != self.header + length {
                    return Ok(Some(read));
                }
            }
            Ok::<_, Errno>(None)
        });
        match result? {
            None => Ok(time),
            Some(other) => Err(io::Error::other(format!("a frame of {other} bytes, not {length}"))),
        }
    }

    fn write(&self, frame: &[u8], count: usize) -> io::Result<Duration> {
        let (time, result) =
            timed(|| (0..count).try_for_each(|_| rustix::io::write(&self.fd, frame).map(drop)));
        result?;
        Ok(time)
    }
}

pub(super) fn sources(missing: &mut Vec<String>) -> Vec<(&'static str, Box<dyn Source>)> {
    let mut sources: Vec<(&'static str, Box<dyn Source>)> = Vec::new();
    match Device::new(OURS, false) {
        Ok(device) => sources.push(("TUN, packets one by one", Box::new(move || singles(&device)))),
        Err(error) => missing.push(format!("TUN: {error}")),
    }
    match Device::new(OURS, true) {
        Ok(device) => {
            let device = Rc::new(device);
            for (segments, size) in [(46, 1392), (64, 36)] {
                let (reader, writer) = (Rc::clone(&device), Rc::clone(&device));
                let read = move || read_uso(&reader, segments, size);
                sources.push(("TUN read, USO", Box::new(read)));
                let write = move || write_super(&writer, Transport::Udp, segments, size);
                sources.push(("TUN write, USO", Box::new(write)));
            }
            let write = move || write_super(&device, Transport::Tcp, 46, 1368);
            sources.push(("TUN write, TSO", Box::new(write)));
        }
        Err(error) => missing.push(format!("TUN with offloads: {error}")),
    }
    match (Device::new(OURS, true), Device::new(THEIRS, true)) {
        (Ok(here), Ok(there)) => {
            sources.push(("TUN read, TSO", Box::new(move || carry_tcp(&here, &there))));
        }
        (Err(error), _) | (_, Err(error)) => missing.push(format!("TUN with TSO: {error}")),
    }
    sources
}

fn singles(device: &Device) -> io::Result<Vec<Sample>> {
    let socket = device.socket()?;
    let mut buffer = vec![0; LONGEST];
    let mut samples = Vec::new();
    for length in [64, 1420] {
        let case = format!("{length} B");
        device.drain(&mut buffer);
        let payload = vec![0; length - IP - UDP];
        for _ in 0..COUNT {
            socket.send(&payload)?;
        }
        let read = device.read(&mut buffer, COUNT, length)?;
        let write = device.write(&Transport::Udp.packet(&payload), COUNT)?;
        samples.push(Sample::new("TUN read", case.clone(), read, COUNT));
        samples.push(Sample::new("TUN write", case, write, COUNT));
    }
    Ok(samples)
}

fn read_uso(device: &Device, segments: usize, size: usize) -> io::Result<Vec<Sample>> {
    let socket = device.socket()?;
    setsockopt(&socket, UdpGsoSegment, &i32::try_from(size).map_err(io::Error::other)?)?;
    let mut buffer = vec![0; LONGEST];
    device.drain(&mut buffer);
    let payload = vec![0; segments * size];
    for _ in 0..SUPERS {
        socket.send(&payload)?;
    }
    let time = device.read(&mut buffer, SUPERS, IP + UDP + payload.len())?;
    Ok(vec![
        Sample::new("TUN read, USO", format!("{segments} x {size} B"), time, SUPERS).of_segments(segments),
    ])
}

fn write_super(
    device: &Device,
    transport: Transport,
    segments: usize,
    size: usize,
) -> io::Result<Vec<Sample>> {
    let packet = transport.packet(&vec![0; segments * size]);
    let frame = [&transport.virtio_net_hdr(size)[..], &packet].concat();
    let time = device.write(&frame, SUPERS)?;
    let name = match transport {
        Transport::Udp => "TUN write, USO",
        Transport::Tcp => "TUN write, TSO",
    };
    Ok(vec![Sample::new(name, format!("{segments} x {size} B"), time, SUPERS).of_segments(segments)])
}

/// What is in an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    const fn header(self) -> usize {
        match self {
            Self::Udp => UDP,
            Self::Tcp => TCP,
        }
    }

    /// A packet for [`NOBODY`], whose checksum of the transport is left to the kernel.
    fn packet(self, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; IP + self.header()];
        packet.extend_from_slice(payload);
        let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[8] = 64;
        packet[9] = if self == Self::Udp { 17 } else { 6 };
        packet[12..16].copy_from_slice(&THEIRS);
        packet[16..20].copy_from_slice(&NOBODY);
        let checksum = Sum::of(&packet[..IP]).checksum();
        packet[10..12].copy_from_slice(&checksum);
        // Ports; then the length, or the offset of the data and a flag of TCP.
        packet[20..24].copy_from_slice(&[0, 9, 0, 9]);
        match self {
            Self::Udp => packet[24..26].copy_from_slice(&(length - 20).to_be_bytes()),
            Self::Tcp => packet[32..34].copy_from_slice(&[0x50, 0x10]),
        }
        packet
    }

    /// The header of a super-frame with segments of `size` bytes: checksum to be filled in, to be cut.
    fn virtio_net_hdr(self, size: usize) -> [u8; VNET_HDR] {
        const NEEDS_CSUM: u8 = 1;
        const GSO_TCPV4: u8 = 1;
        const GSO_UDP_L4: u8 = 5;
        let (kind, checksum) = match self {
            Self::Udp => (GSO_UDP_L4, 6_u16),
            Self::Tcp => (GSO_TCPV4, 16),
        };
        let mut header = [0; VNET_HDR];
        header[..2].copy_from_slice(&[NEEDS_CSUM, kind]);
        let headers = u16::try_from(IP + self.header()).unwrap_or(0);
        let words = [headers, u16::try_from(size).unwrap_or(0), 20, checksum];
        for (place, word) in header[2..].chunks_mut(2).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        header
    }
}

/// Lets a TCP connection send as much as it can from one device to the other, and times the reads and writes of its
/// super-frames.
fn carry_tcp(here: &Device, there: &Device) -> io::Result<Vec<Sample>> {
    let listener = there.namespace.enter(|| TcpListener::bind(SocketAddr::from((THEIRS, 0))))?;
    let to = listener.local_addr()?;
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(1));
            let mut stream = here.namespace.enter(connect)?;
            stream.set_write_timeout(Some(CONNECTION))?;
            let block = vec![0; 1 << 17];
            while !end.load(Ordering::Relaxed) {
                // Stuck, it ends with the sample.
                stream.write_all(&block).ok();
            }
            Ok::<_, io::Error>(())
        });
        scope.spawn(|| {
            listener.set_nonblocking(true).ok();
            let mut buffer = vec![0; 1 << 18];
            let mut stream: Option<TcpStream> = None;
            while !end.load(Ordering::Relaxed) {
                match &mut stream {
                    Some(stream) => drop(stream.read(&mut buffer)),
                    None => {
                        stream = listener.accept().ok().map(|(stream, _)| stream);
                        if let Some(stream) = &stream {
                            stream.set_nonblocking(false).ok();
                            stream.set_read_timeout(Some(CONNECTION)).ok();
                        } else {
                            thread::sleep(Duration::from_millis(1));
                        }
                    }
                }
            }
        });
        let carried = carry(here, there);
        end.store(true, Ordering::Relaxed);
        sender.join().unwrap_or_else(|_| Err(io::Error::other("the sender ended")))?;
        carried
    })
}

fn carry(here: &Device, there: &Device) -> io::Result<Vec<Sample>> {
    let mut buffer = vec![0; LONGEST];
    let (mut reads, mut writes, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < CONNECTION {
        let mut fds = [PollFd::new(&here.fd, PollFlags::IN), PollFd::new(&there.fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }))?;
        for (from, to) in [(here, there), (there, here)] {
            loop {
                let (read, length) = timed(|| rustix::io::read(&from.fd, &mut buffer[..]));
                let Ok(length) = length else { break };
                let (write, written) = timed(|| rustix::io::write(&to.fd, &buffer[..length]));
                // What is dropped is sent again.
                let size = usize::from(u16::from_ne_bytes([buffer[4], buffer[5]]));
                if written.is_ok() && length > 32 * 1024 && size > 0 {
                    reads.push(read);
                    writes.push(write);
                    sizes.push(length / size);
                }
            }
        }
    }
    if reads.len() < 20 {
        return Err(io::Error::other("the connection sends no super-frames"));
    }
    let segments = sizes.iter().sum::<usize>() / sizes.len();
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let case = "TCP of a connection, over 32 KiB";
    Ok(vec![
        Sample::new("TUN read, TSO", case, median(&mut reads), 1).of_segments(segments),
        Sample::new("TUN write, TSO, received", case, median(&mut writes), 1).of_segments(segments),
    ])
}
