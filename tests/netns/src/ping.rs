//! `ping` and what it found.

use core::net::IpAddr;
use core::time::Duration;
use std::os::unix::process::CommandExt as _;

use crate::Namespace;

/// A series of echo requests, one unless said otherwise.
#[derive(Clone, Debug)]
pub struct Ping {
    destination: IpAddr,
    count: u32,
    interval: Duration,
    patience: Duration,
    payload: usize,
    may_fragment: bool,
    traffic_class: u8,
}

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Requests sent.
    pub sent: u32,
    /// Answers received.
    pub received: u32,
    /// Shortest, average and longest round trip in milliseconds, if anything came back.
    pub round_trip_ms: Option<[f64; 3]>,
}

impl Ping {
    /// One request with 56 bytes of payload: 84 bytes of IPv4.
    pub const fn to(destination: IpAddr) -> Self {
        Self {
            destination,
            count: 1,
            interval: Duration::from_millis(100),
            patience: Duration::from_secs(5),
            payload: 56,
            may_fragment: true,
            traffic_class: 0,
        }
    }

    /// How many requests.
    #[must_use]
    pub const fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// The time between an answer, or the end of the patience, and the next request.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long to wait for an answer, in whole seconds.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Bytes behind the ICMP header; 28 less than the packet in IPv4, 48 less in IPv6.
    #[must_use]
    pub const fn payload(mut self, bytes: usize) -> Self {
        self.payload = bytes;
        self
    }

    /// Refuses to fragment at the sender.
    #[must_use]
    pub const fn whole(mut self) -> Self {
        self.may_fragment = false;
        self
    }

    /// The traffic class (IPv4: the former type of service) of the requests.
    #[must_use]
    pub const fn traffic_class(mut self, class: u8) -> Self {
        self.traffic_class = class;
        self
    }

    /// Pings from `namespace`, by a `ping` for each request: one that sends several waits for the last answer no longer than an
    /// interval, or twice the longest round trip, whatever patience it was told to have.
    ///
    /// # Panics
    ///
    /// When `ping` cannot be run. Requests that the kernel refuses to send count as not sent.
    #[track_caller]
    pub fn run(&self, namespace: &Namespace) -> Report {
        let mut total = Report::default();
        for number in 0..self.count {
            if number > 0 {
                std::thread::sleep(self.interval);
            }
            total.add(self.request(namespace));
        }
        total
    }

    #[track_caller]
    fn request(&self, namespace: &Namespace) -> Report {
        let mut command = namespace.command("ping");
        command.args(["-n", "-c", "1", "-s", &self.payload.to_string()]);
        command.args(["-W", &self.patience.as_secs().max(1).to_string()]);
        command.args(["-M", if self.may_fragment { "dont" } else { "do" }]);
        command.args(["-Q", &self.traffic_class.to_string(), &self.destination.to_string()]);
        // Unanswered requests make the exit status 1, which is a result and no failure.
        let output = command.process_group(0).output().expect("running ping");
        let text = String::from_utf8_lossy(&output.stdout);
        match parse(&text) {
            Some(report) => report,
            None if output.status.code() == Some(2) => Report::default(),
            None => panic!("ping says: {text}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

impl Report {
    /// Whether every request was sent and answered.
    pub const fn is_lossless(&self) -> bool {
        self.sent > 0 && self.sent == self.received
    }

    fn add(&mut self, other: Self) {
        let (before, after) = (f64::from(self.received), f64::from(self.received + other.received));
        self.round_trip_ms = match (self.round_trip_ms, other.round_trip_ms) {
            (Some([least, mean, most]), Some([shortest, average, longest])) => Some([
                least.min(shortest),
                (mean * before + average * f64::from(other.received)) / after,
                most.max(longest),
            ]),
            (own, others) => own.or(others),
        };
        self.sent += other.sent;
        self.received += other.received;
    }
}

fn parse(text: &str) -> Option<Report> {
    let summary = text.lines().find(|line| line.contains("packets transmitted"))?;
    let mut counts = summary.split(", ");
    let sent = counts.next()?.split(' ').next()?.parse().ok()?;
    let received = counts.next()?.split(' ').next()?.parse().ok()?;
    let round_trip_ms = text.lines().find(|line| line.starts_with("rtt ")).and_then(|line| {
        let mut values = line.split(" = ").nth(1)?.split(['/', ' ']);
        let mut next = || values.next()?.parse().ok();
        Some([next()?, next()?, next()?])
    });
    Some(Report { sent, received, round_trip_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_is_read() {
        let text = "PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data.\n\n--- 10.0.0.2 ping statistics ---\n\
                    10 packets transmitted, 9 received, 10% packet loss, time 1844ms\n\
                    rtt min/avg/max/mdev = 0.036/0.052/0.070/0.010 ms\n";
        let report = parse(text).unwrap();
        assert_eq!((report.sent, report.received), (10, 9));
        assert_eq!(report.round_trip_ms, Some([0.036, 0.052, 0.070]));
        assert!(!report.is_lossless());
    }

    #[test]
    fn requests_add_up() {
        let answered = |ms| Report { sent: 1, received: 1, round_trip_ms: Some([ms; 3]) };
        let lost = Report { sent: 1, ..Report::default() };
        let mut total = Report::default();
        [lost, answered(2.0), lost, answered(1.0), answered(6.0)]
            .into_iter()
            .for_each(|report| total.add(report));
        assert_eq!(total, Report { sent: 5, received: 3, round_trip_ms: Some([1.0, 3.0, 6.0]) });
        assert!(!total.is_lossless());
    }

    #[test]
    fn silence_has_no_round_trip() {
        let text = "2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 1ms\npipe 2\n";
        assert_eq!(parse(text), Some(Report { sent: 2, received: 0, round_trip_ms: None }));
        assert_eq!(parse("ping: unknown host\n"), None);
    }
}
