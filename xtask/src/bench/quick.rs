//! Two gateways in two namespaces joined by a veth pair, all on this machine, beside wireguard-go.
//!
//! Method. In each round the programs take turns; each turn starts two fresh processes of one program, lets them shake
//! hands and measures
//!
//! * one TCP stream, with `iperf3` where installed and the checked stream of the harness otherwise, and meanwhile the
//!   resident memory of both processes and the processor time they use;
//! * packets of 64 bytes inside (36 bytes of UDP payload), numbered and checked: the highest rate at which at most one in
//!   a hundred is lost, found by doubling the offered rate and then halving the interval. A rate fails when two probes in
//!   a row fail, so that one hiccup of the machine does not end the search. What counts is what arrived.
//!
//! Sender, receiver and both gateways share the processors of the machine, so the figures compare programs and say
//! little about what either does on machines of its own. The figures of a table are medians over the rounds.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use wg_netns::requirements::find_program;
use wg_netns::tcp::{self, Limit};
use wg_netns::udp::Flow;
use wg_netns::{Family, Pair, Program, iperf, process};

use crate::report::{self, Row, figure};

const BENCH: &str = "quick";
/// Inner bytes of IPv4 and UDP header.
const HEADERS: usize = 28;
const SMALL: usize = 64;
const TCP_SECONDS: u64 = 3;
const PROBE: Duration = Duration::from_millis(600);
/// Steps of the search between the last rate that passed and the first that failed.
const HALVINGS: u32 = 4;
const FIRST_RATE: u32 = 10_000;
const HIGHEST_RATE: u32 = 2_000_000;

/// Case, metric, unit, and whether more is better.
const FIGURES: [(&str, &str, &str, bool); 4] = [
    ("tcp-1-stream", "throughput", "Gbit/s", true),
    ("udp-64-byte", "rate at 1 % loss", "kpackets/s", true),
    ("tcp-1-stream", "resident memory", "MiB", false),
    ("tcp-1-stream", "processor time", "s/GB", false),
];

/// Measures; the rows stand in the order of the figures, the gateway first.
pub(super) fn run(rounds: u32) -> Result<Vec<Row>, String> {
    let programs = [Program::Gateway, Program::WireguardGo];
    let mut samples: [[Vec<f64>; FIGURES.len()]; 2] = Default::default();
    for round in 1..=rounds {
        for (program, samples) in programs.into_iter().zip(&mut samples) {
            let figures = measure(program)?;
            let told: Vec<String> = FIGURES
                .iter()
                .zip(figures)
                .map(|((_, metric, unit, _), value)| format!("{metric} {} {unit}", figure(value)))
                .collect();
            println!("round {round} of {rounds}, {}: {}", program.name(), told.join(", "));
            for (samples, value) in samples.iter_mut().zip(figures) {
                samples.push(value);
            }
        }
    }
    let mut rows = Vec::new();
    for (at, (case, metric, unit, _)) in FIGURES.into_iter().enumerate() {
        for (program, samples) in programs.into_iter().zip(&samples) {
            rows.push(Row::new(BENCH, program.name(), case, metric, unit, &samples[at]));
        }
    }
    Ok(rows)
}

/// Prints the rows with the ratio of the two programs.
pub(super) fn print(rows: &[Row]) {
    let title = |text: &str| text.to_owned();
    let mut lines = vec![vec![
        title("figure (median)"),
        title("wg-gateway"),
        title("wireguard-go"),
        title("ratio"),
        title(""),
    ]];
    for (pair, (_, _, _, more_is_better)) in rows.chunks_exact(2).zip(FIGURES) {
        let [ours, theirs] = pair else { continue };
        let ratio = ours.median / theirs.median;
        let better = (ratio > 1.0) == more_is_better;
        lines.push(vec![
            format!("{}: {}, {}", ours.case, ours.metric, ours.unit),
            figure(ours.median),
            figure(theirs.median),
            figure(ratio),
            title(if better { "better" } else { "worse" }),
        ]);
    }
    println!();
    report::print_table(&lines);
}

/// One turn of one program: the figures in their order.
fn measure(program: Program) -> Result<[f64; FIGURES.len()], String> {
    let pair = Pair::new([program; 2]);
    pair.acquaint_directly(Family::V4);
    if !pair.a.reaches(&pair.b, Family::V4) {
        return Err(format!("{}: the first ping was not answered", program.name()));
    }
    let processes = [pair.a.tunnel.pid(), pair.b.tunnel.pid()];
    let used = || processes.iter().filter_map(|pid| process::cpu_time(*pid)).sum::<Duration>();
    let before = (used(), pair.b.peer_directly(&pair.a).rx_bytes);
    let (throughput, memory) = tcp_stream(&pair)?;
    let after = (used(), pair.b.peer_directly(&pair.a).rx_bytes);
    let gigabytes = (after.1 - before.1) as f64 / 1e9;
    let cost = (after.0 - before.0).as_secs_f64() / gigabytes.max(1e-9);
    Ok([throughput, small_packets(&pair) / 1e3, memory, cost])
}

/// Gbit/s of one stream, and the most resident memory that one of the gateways had meanwhile, in MiB.
fn tcp_stream(pair: &Pair) -> Result<(f64, f64), String> {
    let done = AtomicBool::new(false);
    let peak = AtomicU64::new(0);
    let throughput = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for node in [&pair.a, &pair.b] {
                    peak.fetch_max(process::resident_kib(node.tunnel.pid()).unwrap_or(0), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let (from, to, address) = (&pair.a.namespace, &pair.b.namespace, pair.b.inner(Family::V4));
        let throughput = if find_program("iperf3").is_some() {
            iperf::tcp(from, to, address, TCP_SECONDS)
                .map(|report| report.gigabits_per_second)
                .map_err(|failure| failure.to_string())
        } else {
            let limit = Limit::Time(Duration::from_secs(TCP_SECONDS));
            tcp::transfer(from, to, SocketAddr::new(address, 5201), limit, |_, _| {})
                .map(|report| report.gigabits_per_second())
                .map_err(|error| format!("TCP: {error}"))
        };
        done.store(true, Ordering::Relaxed);
        throughput
    })?;
    Ok((throughput, peak.load(Ordering::Relaxed) as f64 / 1024.0))
}

/// The highest rate of small packets that arrived with at most 1 % lost, in packets a second; 0 if none did.
fn small_packets(pair: &Pair) -> f64 {
    let mut arrived = 0.0_f64;
    let mut passes = |rate: u32| {
        let result = probe(pair, rate).or_else(|| probe(pair, rate));
        arrived = arrived.max(result.unwrap_or(0.0));
        result.is_some()
    };
    let mut good = 0;
    let mut bad = FIRST_RATE;
    while bad < HIGHEST_RATE && passes(bad) {
        good = bad;
        bad *= 2;
    }
    for _ in 0..HALVINGS {
        let rate = u32::midpoint(good, bad);
        if passes(rate) {
            good = rate;
        } else {
            bad = rate;
        }
    }
    arrived
}

/// Offers packets at `rate`; the rate that arrived, if at most 1 % were lost and the sender kept up.
fn probe(pair: &Pair, rate: u32) -> Option<f64> {
    let address = SocketAddr::new(pair.b.inner(Family::V4), 4000);
    let flow = Flow::start(&pair.a.namespace, &pair.b.namespace, address, rate, SMALL - HEADERS);
    std::thread::sleep(PROBE);
    let account = flow.finish();
    let seconds = account.elapsed.as_secs_f64();
    let kept_up = account.sent as f64 >= 0.95 * seconds * f64::from(rate);
    (kept_up && account.lost() * 100 <= account.sent).then(|| account.received as f64 / seconds)
}
