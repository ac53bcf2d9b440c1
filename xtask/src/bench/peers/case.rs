//! What is measured of each column in each round, and which figures come of it.

use core::net::IpAddr;
use core::time::Duration;

use wg_netns::quota::Quota;
use wg_netns::syscalls::Counter;
use wg_netns::{echo, iperf, process};

use super::load::{Load, Mode, Outcome};
use super::route::Route;
use super::search;

/// Bytes of the inner packets, unless something is said.
pub(super) const SIZES: [usize; 3] = [64, 512, 1400];
/// The size that is sent beyond what a gateway can take.
const OVERLOAD_SIZE: usize = 64;
/// The share of all processors that both gateways have together then: little enough for the generator to do twice their peak
/// with the rest.
const OVERLOAD_SHARE: f64 = 0.25;
/// The time between two echo requests.
const ECHO_INTERVAL: Duration = Duration::from_millis(5);

/// The share of the time from which on a thread is taken for one that has no time left.
const BUSY: f64 = 0.95;

/// Whether a figure is better when it is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
}

/// One figure of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) case: String,
    pub(super) metric: &'static str,
    pub(super) unit: &'static str,
    pub(super) better: Better,
}

/// How much of everything is measured.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    /// How long a stream lasts, or the like.
    pub(super) seconds: u64,
    /// Bytes of inner packets.
    pub(super) sizes: Vec<usize>,
}

/// A group of figures that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Case {
    /// TCP through `iperf3`: one stream, one the other way, eight; processor time and memory meanwhile.
    Tcp,
    /// Packets of 64, 512 and 1400 bytes, plain and in bursts: the highest rate at which at most one in a hundred is lost.
    Udp,
    /// Twice the highest rate, with little processor time for the gateways: what still arrives.
    Overload,
    /// Echo requests, alone and beside a stream.
    Ping,
    /// Handshakes that the program completes as responder.
    Handshakes,
    /// System calls beside one TCP stream, at both ends, as `perf` counts them.
    Calls,
}

impl Case {
    pub(super) const ALL: [Self; 6] =
        [Self::Tcp, Self::Udp, Self::Overload, Self::Ping, Self::Handshakes, Self::Calls];

    /// Whether it says something of the cable alone.
    pub(super) const fn is_of_the_cable(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Ping)
    }

    /// Measures it. The figures that could be had, and the reasons for those that could not.
    pub(super) fn measure(self, route: &Route, load: &Load, extent: &Extent) -> Measured {
        let seconds = extent.seconds;
        let mut measured = Measured::default();
        let result = match self {
            Self::Tcp => tcp(route, seconds, &mut measured),
            Self::Udp => udp(route, load, extent, &mut measured),
            Self::Overload => overload(route, load, seconds, &mut measured),
            Self::Ping => ping(route, seconds, &mut measured),
            Self::Handshakes => handshakes(route, load, seconds, &mut measured),
            Self::Calls => calls(route, seconds, &mut measured),
        };
        if let Err(reason) = result {
            measured.notes.push(reason);
        }
        measured
    }
}

/// What a case gave.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) figures: Vec<(Figure, f64)>,
    pub(super) notes: Vec<String>,
}

impl Measured {
    fn more(&mut self, case: &str, metric: &'static str, unit: &'static str, value: f64) {
        let figure = Figure { case: case.into(), metric, unit, better: Better::More };
        self.figures.push((figure, value));
    }

    fn less(&mut self, case: &str, metric: &'static str, unit: &'static str, value: f64) {
        let figure = Figure { case: case.into(), metric, unit, better: Better::Less };
        self.figures.push((figure, value));
    }
}

/// What the gateways take before there is any traffic but the first echo.
pub(super) fn idle(route: &Route, measured: &mut Measured) {
    if let Some(resident) = route.pids().into_iter().filter_map(process::resident_kib).max() {
        measured.less("idle", "resident memory", "MiB", resident as f64 / 1024.0);
    }
}

fn tcp(route: &Route, seconds: u64, measured: &mut Measured) -> Result<(), String> {
    let used = || route.pids().iter().filter_map(|pid| process::cpu_time(*pid)).sum::<Duration>();
    let cases = [
        ("tcp-x1", 1, iperf::Direction::Forward),
        ("tcp-x1-reversed", 1, iperf::Direction::Reversed),
        ("tcp-x8", 8, iperf::Direction::Forward),
    ];
    for (case, count, direction) in cases {
        let before = used();
        let report = iperf::streams(route.from(), route.to(), route.address(), seconds, count, direction)
            .map_err(|failure| format!("{case}: {failure}"))?;
        measured.more(case, "throughput", "Gbit/s", report.gigabits_per_second);
        if count == 1 && direction == iperf::Direction::Forward && route.pair().is_some() {
            let gigabytes = report.gigabits_per_second * seconds as f64 / 8.0;
            measured.less(case, "processor time", "s/GB", (used() - before).as_secs_f64() / gigabytes);
        }
    }
    let peak = route.pids().into_iter().filter_map(process::peak_resident_kib).max();
    if let Some(peak) = peak {
        measured.less("tcp", "peak resident memory", "MiB", peak as f64 / 1024.0);
    }
    Ok(())
}

fn udp(route: &Route, load: &Load, extent: &Extent, measured: &mut Measured) -> Result<(), String> {
    for &size in &extent.sizes {
        for mode in Mode::BOTH {
            let case = format!("udp-{size}-{}", mode.name());
            match peak(route, load, extent.seconds, size, mode) {
                Ok(best) => {
                    measured.more(&case, "rate at 1 % loss", "kpackets/s", best.outcome.arrived() / 1e3);
                    let reordered = best.outcome.reordered / best.outcome.received.max(1.0);
                    measured.less(&case, "reordered", "per million", reordered * 1e6);
                    if best.is_of_the_generator {
                        measured.notes.push(format!("{case}: the generator sends no more than this"));
                    }
                }
                Err(reason) => measured.notes.push(format!("{case}: {reason}")),
            }
        }
    }
    Ok(())
}

/// The highest rate at which at most one packet in a hundred is lost.
fn peak(route: &Route, load: &Load, seconds: u64, size: usize, mode: Mode) -> Result<search::Best, String> {
    // Many short looks find the place better than a few long ones.
    let time = Duration::from_millis((seconds * 1000 / 6).clamp(200, 1000));
    search::highest(|rate| load.packets(route, mode, size, rate, time))
}

fn overload(route: &Route, load: &Load, seconds: u64, measured: &mut Measured) -> Result<(), String> {
    let case = format!("overload-{OVERLOAD_SIZE}");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let quota = Quota::new(OVERLOAD_SHARE * processors as f64)
        .map_err(|error| format!("{case}: no control group: {error}"))?;
    for pid in route.pids() {
        quota.add(pid).map_err(|error| format!("{case}: {error}"))?;
    }
    let best = peak(route, load, seconds, OVERLOAD_SIZE, Mode::Plain)?.outcome.arrived();
    if best < 1.0 {
        return Err(format!("{case}: no rate has less than 1 % loss under the quota"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "packets a second")]
    let rate = (2.0 * best) as u32;
    let beyond = load.packets(route, Mode::Plain, OVERLOAD_SIZE, rate, Duration::from_secs(seconds))?;
    measured.more(&case, "rate at 1 % loss under the quota", "kpackets/s", best / 1e3);
    measured.more(&case, "goodput at twice that rate", "of it", beyond.arrived() / best);
    if !beyond.kept_up() {
        let offered = Outcome { received: beyond.sent, ..beyond }.arrived() / best;
        measured.notes.push(format!("{case}: the generator sent {offered:.1} times the rate, not twice"));
    }
    Ok(())
}

fn ping(route: &Route, seconds: u64, measured: &mut Measured) -> Result<(), String> {
    let time = Duration::from_secs(seconds);
    echoes(route, "ping", time, measured)?;
    let case = "ping-beside-tcp";
    let report = std::thread::scope(|scope| {
        let stream = scope.spawn(|| {
            let forward = iperf::Direction::Forward;
            iperf::streams(route.from(), route.to(), route.address(), seconds + 2, 1, forward)
        });
        // The stream is at its full rate by then, and goes on for as long again after the last request.
        std::thread::sleep(Duration::from_secs(1));
        echoes(route, case, time, measured)?;
        stream
            .join()
            .map_err(|_| "the stream ended".to_owned())?
            .map_err(|failure| format!("{case}: {failure}"))
    })?;
    measured.more(case, "throughput meanwhile", "Gbit/s", report.gigabits_per_second);
    Ok(())
}

fn echoes(route: &Route, case: &str, time: Duration, measured: &mut Measured) -> Result<(), String> {
    let IpAddr::V4(address) = route.address() else { return Err(format!("{case}: not of IPv4")) };
    let mut report = echo::run(route.from(), address, ECHO_INTERVAL, time, None);
    measured.less(case, "lost", "%", report.loss() * 100.0);
    // What is lost has a figure of its own; with it in these, there would be none beside a full tunnel.
    report.requests.retain(|(_, answer)| answer.is_some());
    for (metric, share) in [("median round trip", 0.5), ("round trip of 99 in 100 that are answered", 0.99)] {
        match report.percentile(share) {
            Some(trip) => measured.less(case, metric, "ms", trip),
            None => measured.notes.push(format!("{case}: no request was answered")),
        }
    }
    // Beside a full tunnel the program that asks waits for a processor, too, and that is not the tunnel's time alone.
    if let Some(trip) = report.arrival_percentile(0.99) {
        measured.less(case, "the same to the kernel, as `ping` tells it", "ms", trip);
    }
    Ok(())
}

fn handshakes(route: &Route, load: &Load, seconds: u64, measured: &mut Measured) -> Result<(), String> {
    let pair = route.pair().ok_or("no gateway")?;
    let account = load
        .handshakes(pair, Duration::from_secs(seconds))
        .map_err(|error| format!("handshakes: {error}"))?;
    measured.more("handshakes", "completed as responder", "1/s", account.completed);
    measured.less("handshakes", "processor time of the responder", "us each", account.cost);
    measured.less("handshakes", "given up", "1/s", account.failed);
    measured.less("handshakes", "cookies asked for", "1/s", account.cookies);
    if account.initiators > BUSY {
        measured.notes.push("handshakes: the initiators do no more than this".into());
    }
    Ok(())
}

/// Counts in a stream of its own: what counts takes time, too.
fn calls(route: &Route, seconds: u64, measured: &mut Measured) -> Result<(), String> {
    let case = "calls-beside-tcp";
    let pids = route.pids();
    let segments = || pids.iter().filter_map(|pid| process::tcp_segments_sent(*pid)).sum::<u64>();
    let counters = pids.iter().map(|pid| Counter::start(*pid)).collect::<Result<Vec<_>, _>>();
    let counters = counters.map_err(|reason| format!("{case}: {reason}"))?;
    let before = segments();
    let forward = iperf::Direction::Forward;
    let report = iperf::streams(route.from(), route.to(), route.address(), seconds, 1, forward)
        .map_err(|failure| format!("{case}: {failure}"))?;
    // Both gateways have all of them: data one way, acknowledgements the other.
    let packets = (segments() - before) as f64;
    let ends = ["system calls of the sending gateway", "system calls of the receiving gateway"];
    for (end, counter) in ends.into_iter().zip(counters) {
        let count = counter.stop().map_err(|reason| format!("{case}: {reason}"))?;
        measured.less(case, end, "a packet", count as f64 / packets);
    }
    measured.more(case, "throughput meanwhile", "Gbit/s", report.gigabits_per_second);
    Ok(())
}
