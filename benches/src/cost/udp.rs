//! Datagrams over a veth pair between two namespaces: sent one by one, many to a call, and as one that the kernel cuts; received
//! with and without `UDP_GRO`.
//!
//! The receiver sleeps while the sender fills its socket and then empties it on another core, so neither disturbs the other.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::thread;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{UdpGroSegment, UdpGsoSegment};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt};
use wg_netns::process::pin_thread;
use wg_netns::{Namespace, veth};

use super::{Sample, Source, timed, two_processors};

/// As long as the datagrams of a tunnel that carries packets of 1420 and 64 bytes.
const LARGE: usize = 1452;
const SMALL: usize = 96;
const COUNT: usize = 512;
/// Messages to a call.
const BATCH: usize = 32;
/// How many datagrams are sent as one, by their size.
const TRAINS: [(usize, usize); 3] = [(LARGE, 44), (SMALL, 64), (SMALL, 128)];
const SUPERS: usize = 64;
const LONGEST: usize = 65_536;
/// Of the receiver's socket.
const ROOM: usize = 64 << 20;

/// The cable; whoever measures over it holds it.
struct Cable {
    here: Namespace,
    there: Namespace,
}

pub(super) fn sources(_: &mut Vec<String>) -> Vec<(&'static str, Box<dyn Source>)> {
    let cable = Cable { here: Namespace::new(), there: Namespace::new() };
    let link = veth::connect(&cable.here, &cable.there);
    cable.here.ip(&format!("addr add 10.9.0.1/24 dev {}", link.first));
    cable.there.ip(&format!("addr add 10.9.0.2/24 dev {}", link.second));
    // Shared by all, for as long as one of them lives.
    let cable = std::rc::Rc::new(cable);
    let mut sources: Vec<(&'static str, Box<dyn Source>)> = Vec::new();
    for size in [LARGE, SMALL] {
        let cable = std::rc::Rc::clone(&cable);
        sources.push(("UDP, datagrams by themselves", Box::new(move || singles(&cable, size))));
    }
    for (size, count) in TRAINS {
        for receiver in [Receiver::Joins, Receiver::Splits] {
            let cable = std::rc::Rc::clone(&cable);
            let source = move || trains(&cable, size, count, receiver);
            sources.push(("UDP, many datagrams as one", Box::new(source)));
        }
    }
    sources
}

/// Whether the receiver takes many datagrams as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    /// `UDP_GRO`.
    Joins,
    /// The kernel cuts them for it.
    Splits,
}

impl Cable {
    fn sockets(&self, receiver: Receiver) -> io::Result<(UdpSocket, UdpSocket)> {
        let to = self.there.enter(|| UdpSocket::bind(SocketAddr::from(([10, 9, 0, 2], 0))))?;
        let from = self.here.enter(|| UdpSocket::bind(SocketAddr::from(([10, 9, 0, 1], 0))))?;
        from.connect(to.local_addr()?)?;
        to.set_nonblocking(true)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&to, ROOM).ok();
        if receiver == Receiver::Joins {
            setsockopt(&to, UdpGroSegment, &true)?;
        }
        Ok((from, to))
    }
}

fn singles(cable: &Cable, size: usize) -> io::Result<Vec<Sample>> {
    let (from, to) = cable.sockets(Receiver::Splits)?;
    let packet = vec![1; size];
    let case = format!("{size} B");
    let (sent, received) = (here(|| send(&from, &packet, COUNT))?, there(|| receive(&to))?);
    let (batched, by_batch) = (here(|| send_many(&from, &packet))?, there(|| receive_many(&to))?);
    let same = |count: usize| if count == COUNT { Ok(()) } else { Err(lost(count, COUNT)) };
    same(received.1)?;
    same(by_batch.1)?;
    Ok(vec![
        Sample::new("send", case.clone(), sent, COUNT),
        Sample::new("sendmmsg(64)", case.clone(), batched, COUNT),
        Sample::new("recv", case.clone(), received.0, COUNT),
        Sample::new("recvmmsg(32)", case, by_batch.0, COUNT),
    ])
}

fn trains(cable: &Cable, size: usize, segments: usize, receiver: Receiver) -> io::Result<Vec<Sample>> {
    let (from, to) = cable.sockets(receiver)?;
    setsockopt(&from, UdpGsoSegment, &i32::try_from(size).map_err(io::Error::other)?)?;
    let train = vec![1; size * segments];
    let case = match receiver {
        Receiver::Joins => format!("{segments} x {size} B"),
        Receiver::Splits => format!("{segments} x {size} B, other end without offload"),
    };
    let sent = here(|| send(&from, &train, SUPERS))
        .map_err(|error| io::Error::new(error.kind(), format!("{case}: {error}")))?;
    let (time, calls) = there(|| receive(&to))?;
    let expected = if receiver == Receiver::Joins { SUPERS } else { SUPERS * segments };
    if calls != expected {
        return Err(lost(calls, expected));
    }
    let per_call = if receiver == Receiver::Joins { segments } else { 1 };
    let receive = if receiver == Receiver::Joins { "recv, UDP_GRO" } else { "recv" };
    Ok(vec![
        Sample::new("send, UDP_SEGMENT", case.clone(), sent, SUPERS).of_segments(segments),
        Sample::new(receive, case, time, calls).of_segments(per_call),
    ])
}

fn lost(received: usize, expected: usize) -> io::Error {
    io::Error::other(format!("{received} of {expected} arrived"))
}

fn here<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    pinned(two_processors().map(|[here, _]| here), work)
}

fn there<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    pinned(two_processors().map(|[_, there]| there), work)
}

fn pinned<T: Send>(cpu: Option<usize>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin_thread(cpu);
            work()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread ended")))
    })
}

fn send(socket: &UdpSocket, payload: &[u8], count: usize) -> io::Result<Duration> {
    let (time, result) = timed(|| (0..count).try_for_each(|_| socket.send(payload).map(drop)));
    result.map(|()| time)
}

fn send_many(socket: &UdpSocket, packet: &[u8]) -> io::Result<Duration> {
    const CALL: usize = 64;
    let mut headers = MultiHeaders::<()>::preallocate(CALL, None);
    let slices = [[IoSlice::new(packet)]; CALL];
    let (time, sent) = timed(|| {
        let mut sent = 0;
        while sent < COUNT {
            let to = [None; CALL];
            sent += sendmmsg(socket.as_raw_fd(), &mut headers, &slices, to, [], MsgFlags::empty())?.count();
        }
        Ok::<usize, Errno>(sent)
    });
    if sent? == COUNT { Ok(time) } else { Err(io::Error::other("a call took less than all")) }
}

/// Time and number of calls until the socket is empty.
fn receive(socket: &UdpSocket) -> io::Result<(Duration, usize)> {
    let mut buffer = vec![0; LONGEST];
    let (time, calls) = timed(|| {
        let mut calls = 0;
        loop {
            match socket.recv(&mut buffer) {
                Ok(_) => calls += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(calls),
                Err(error) => return Err(error),
            }
        }
    });
    Ok((time, calls?))
}

/// Time and number of datagrams until the socket is empty.
fn receive_many(socket: &UdpSocket) -> io::Result<(Duration, usize)> {
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let mut buffers = vec![0_u8; BATCH * 2048];
    let (time, count) = timed(|| {
        let mut count = 0;
        loop {
            let mut chunks = buffers.chunks_mut(2048);
            let mut slices: [_; BATCH] =
                core::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
            let fd = socket.as_raw_fd();
            match recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
                Ok(messages) => count += messages.count(),
                Err(Errno::EAGAIN) => return Ok(count),
                Err(error) => return Err(error),
            }
        }
    });
    Ok((time, count?))
}
