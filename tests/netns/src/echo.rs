//! Echo requests at a steady pace, with each round trip kept: `ping` tells no percentiles.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::time::{Instant, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Namespace, process};

const REQUEST: u8 = 8;
const REPLY: u8 = 0;
const IDENTIFIER: u16 = 0x7767;
/// As long as that of `ping`.
const PAYLOAD: usize = 56;
/// How long the last requests are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What came back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// For each request when it was sent, from the start, and how long the answer took, if there was one.
    pub requests: Vec<(Duration, Option<Duration>)>,
    /// For each answer how long it took to the kernel here, which is what `ping` tells: how long this thread then waited for a
    /// processor is not in it.
    pub arrivals: Vec<Duration>,
}

impl Report {
    /// The share of requests without an answer.
    pub fn loss(&self) -> f64 {
        let lost = self.requests.iter().filter(|(_, answer)| answer.is_none()).count();
        lost as f64 / self.requests.len().max(1) as f64
    }

    /// The round trip that this share of the requests did not exceed, in milliseconds; infinite if fewer were answered, as
    /// those that are lost must not make the others look quick. None without requests.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        percentile(self.requests.iter().map(|(_, answer)| answer.map_or(f64::INFINITY, millis)), share)
    }

    /// The same of those that were answered, and to the kernel.
    pub fn arrival_percentile(&self, share: f64) -> Option<f64> {
        percentile(self.arrivals.iter().copied().map(millis), share)
    }

    /// When the last request was sent that was answered late or not at all.
    pub fn last_beyond(&self, limit: Duration) -> Option<Duration> {
        let beyond = |answer: &Option<Duration>| answer.is_none_or(|time| time > limit);
        self.requests.iter().rev().find(|(_, answer)| beyond(answer)).map(|(at, _)| *at)
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn percentile(trips: impl Iterator<Item = f64>, share: f64) -> Option<f64> {
    let mut trips: Vec<f64> = trips.collect();
    trips.sort_by(f64::total_cmp);
    let last = trips.len().checked_sub(1)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let at = (share * last as f64).round() as usize;
    trips.get(at.min(last)).copied()
}

/// Sends a request every `interval` for as long as `time`, from `namespace`, on `cpu` if one is given.
///
/// # Panics
///
/// When the kernel gives no raw socket.
#[track_caller]
pub fn run(
    namespace: &Namespace,
    to: Ipv4Addr,
    interval: Duration,
    time: Duration,
    cpu: Option<usize>,
) -> Report {
    let socket = namespace
        .enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).expect("a raw socket"));
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("the time of arrival");
    std::thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            process::pin_thread(cpu);
            measure(&socket, to, interval, time)
        });
        pinned.join().expect("the thread of the echo requests")
    })
}

fn measure(socket: &Socket, to: Ipv4Addr, interval: Duration, time: Duration) -> Report {
    let address = SocketAddrV4::new(to, 0).into();
    let mut report = Report::default();
    let start = Instant::now();
    let mut sent_at = Vec::new();
    let mut outstanding = 0_usize;
    loop {
        let now = start.elapsed();
        let next = interval * u32::try_from(report.requests.len()).unwrap_or(u32::MAX);
        let asking = next < time;
        let until = if asking { next } else { time + PATIENCE };
        if now >= until {
            if !asking {
                return report;
            }
            let number = u16::try_from(report.requests.len() % 65_536).unwrap_or_default();
            sent_at.push(SystemTime::now());
            // A request that the kernel refuses is one without an answer.
            let sent = socket.send_to(&request(number), &address).is_ok();
            report.requests.push((now, None));
            outstanding += usize::from(sent);
            continue;
        }
        if !asking && outstanding == 0 {
            return report;
        }
        let wait = (until - now).max(Duration::from_micros(100));
        socket.set_read_timeout(Some(wait)).expect("a timeout");
        let mut buffer = [0; 256];
        let Ok((length, kernel_had_it)) = receive(socket, &mut buffer) else { continue };
        let Some(number) = reply(&buffer[..length], to) else { continue };
        // Numbers are used again after 65,536 requests: the latest that fits is meant.
        let last = report.requests.len().saturating_sub(1);
        let meant = last.saturating_sub((last % 65_536 + 65_536 - usize::from(number)) % 65_536);
        let arrived = start.elapsed();
        if let Some((at, answer @ None)) = report.requests.get_mut(meant) {
            *answer = Some(arrived.saturating_sub(*at));
            let sent = sent_at.get(meant).and_then(|sent| sent.duration_since(SystemTime::UNIX_EPOCH).ok());
            report.arrivals.extend(kernel_had_it.zip(sent).map(|(had_it, sent)| had_it.saturating_sub(sent)));
            outstanding = outstanding.saturating_sub(1);
        }
    }
}

/// The next packet, and when the kernel had it, since 1970.
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<(usize, Option<Duration>)> {
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut vector = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut vector, Some(&mut control), MsgFlags::empty())?;
    let had_it = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
        _ => None,
    });
    Ok((message.bytes, had_it))
}

fn request(number: u16) -> [u8; 8 + PAYLOAD] {
    let mut message = [0; 8 + PAYLOAD];
    message[0] = REQUEST;
    message[4..6].copy_from_slice(&IDENTIFIER.to_be_bytes());
    message[6..8].copy_from_slice(&number.to_be_bytes());
    let sum: u32 = message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or_default();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// The number in a packet, if that is an answer from `from` to one of ours.
fn reply(packet: &[u8], from: Ipv4Addr) -> Option<u16> {
    let header = usize::from(packet.first()? & 15) * 4;
    let message = packet.get(header..)?;
    let ours = packet.get(12..16)? == from.octets()
        && *message.first()? == REPLY
        && message.get(4..6)? == IDENTIFIER.to_be_bytes();
    ours.then_some(u16::from_be_bytes(*message.get(6..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(millis: &[Option<u64>]) -> Report {
        let request = |(at, answer): (usize, &Option<u64>)| {
            (Duration::from_secs(at as u64), answer.map(Duration::from_millis))
        };
        Report { requests: millis.iter().enumerate().map(request).collect(), ..Report::default() }
    }

    #[test]
    fn lost_requests_are_the_slowest() {
        let answers: Vec<Option<u64>> = (1..=101).rev().map(Some).chain([None]).collect();
        let mut report = report(&answers);
        assert_eq!((report.percentile(0.5), report.percentile(0.99)), (Some(52.0), Some(101.0)));
        assert!((report.loss() - 1.0 / 102.0).abs() < 1e-9);
        report.requests.extend([(Duration::ZERO, None); 2]);
        assert_eq!(report.percentile(0.99), Some(f64::INFINITY));
        assert_eq!((Report::default().percentile(0.5), report.arrival_percentile(0.5)), (None, None));
        report.arrivals = (1..=101).rev().map(Duration::from_millis).collect();
        assert_eq!(report.arrival_percentile(0.99), Some(100.0));
    }

    #[test]
    fn recovery_ends_with_the_last_late_or_missing_answer() {
        let limit = Duration::from_millis(5);
        assert_eq!(
            report(&[Some(9), None, Some(6), Some(1)]).last_beyond(limit),
            Some(Duration::from_secs(2))
        );
        assert_eq!(report(&[Some(1), None]).last_beyond(limit), Some(Duration::from_secs(1)));
        assert_eq!(report(&[Some(1)]).last_beyond(limit), None);
    }

    #[test]
    fn an_answer_is_known_by_its_source_and_identifier() {
        let mut packet = [&[0x45; 20][..], &request(700)].concat();
        packet[12..16].copy_from_slice(&[10, 1, 0, 1]);
        let from = Ipv4Addr::new(10, 1, 0, 1);
        assert_eq!(reply(&packet, from), None, "a request");
        packet[20] = REPLY;
        assert_eq!(reply(&packet, from), Some(700));
        assert_eq!(reply(&packet, Ipv4Addr::new(10, 1, 0, 2)), None);
        assert_eq!(reply(&packet[..24], from), None);
    }
}
