//! The datapath from memory to memory, without the kernel, on one core: nanoseconds per packet by stage.
//!
//! A hub with its lane, as a gateway drives them, takes frames of a host and seals them, and takes datagrams of its peers and
//! delivers what was in them. In each round every subject gets one sample of each load, after a round that warms up: the
//! median of many turns. The totals are of turns in which no clock is read; the stages are of others, beside them.

mod clock;
mod edges;
mod traffic;
mod tunnel;

use core::time::Duration;
use std::time::Instant;

use wg_datapath::proto::aead::RingAead;
use wg_datapath::{BatchAead, MultiBufferAead};

use crate::report::Row;
use clock::Stage;
use edges::Arrival;
use traffic::Transport;
use tunnel::{Load, Tunnel};

const BENCH: &str = "stages";
const TIME: &str = "ns/packet";

/// What goes through the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// TCP in packets of 1420 bytes: frames of 64 KiB, and trains.
    Tcp,
    /// UDP in packets of 64 bytes: frames of 64 (`UDP_SEGMENT`), and trains.
    Udp,
    /// UDP in packets of 1420 bytes that come singly on both sides, all of one peer.
    Lone1420,
    /// The same, of 64 bytes.
    Lone64,
    /// Packets of 64 bytes that come singly on both sides, each of another of 64 peers.
    Peers,
}

impl Case {
    const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Lone1420, Self::Lone64, Self::Peers];

    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP, 1420 B, frames of 64 KiB",
            Self::Udp => "UDP, 64 B, frames of 64",
            Self::Lone1420 => "UDP, 1420 B, singly",
            Self::Lone64 => "UDP, 64 B, singly",
            Self::Peers => "UDP, 64 B, singly, 64 peers",
        }
    }

    /// A turn reads all that the host has, which one drain does: the end of it is where reading ends.
    const fn load(self, subject: Subject) -> Load {
        let has_offloads = !matches!(subject, Subject::NoOffloads);
        let (peers, transport, len, frame, frames) = match self {
            Self::Tcp => (1, Transport::Tcp, 1420, 47, if has_offloads { 4 } else { 2 }),
            Self::Udp => (1, Transport::Udp, 64, 64, if has_offloads { 8 } else { 1 }),
            Self::Lone1420 => (1, Transport::Udp, 1420, 1, 100),
            Self::Lone64 => (1, Transport::Udp, 64, 1, 100),
            Self::Peers => (64, Transport::Udp, 64, 1, 64),
        };
        let is_lone = matches!(self, Self::Lone1420 | Self::Lone64 | Self::Peers);
        let arrival = if is_lone || !has_offloads { Arrival::Singly } else { Arrival::Trains };
        let coalesces = !matches!(subject, Subject::NoCoalescing);
        Load { peers, transport, len, frame, frames, has_offloads, arrival, coalesces }
    }
}

/// How it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// As it is: the AEAD over batches, with all offloads.
    Default,
    /// The packets one by one, by `ring`.
    Ring,
    /// What is delivered is written packet by packet.
    NoCoalescing,
    /// No frames from or to the TUN, no trains.
    NoOffloads,
}

impl Subject {
    const ALL: [Self; 4] = [Self::Default, Self::Ring, Self::NoCoalescing, Self::NoOffloads];

    const fn name(self) -> &'static str {
        const NAMES: [&str; 4] = if cfg!(feature = "measure-copies") {
            ["default, copies", "ring, copies", "no coalescing, copies", "no offloads, copies"]
        } else {
            ["default", "ring", "no coalescing", "no offloads"]
        };
        NAMES[self as usize]
    }

    /// Loads that come singly have next to no offloads.
    const fn takes(self, case: Case) -> bool {
        matches!(self, Self::Default | Self::Ring) || matches!(case, Case::Tcp | Case::Udp)
    }
}

/// What to measure.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Choice {
    /// These loads only.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LOADS")]
    pub cases: Vec<Case>,
    /// Done in these ways only.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WAYS")]
    pub subjects: Vec<Subject>,
}

/// What was measured.
#[derive(Debug)]
pub struct Stages {
    /// Nanoseconds per packet by stage and altogether, and what one core does in a second.
    pub rows: Vec<Row>,
    /// The same, for people.
    pub table: String,
}

/// Measures; `allocations` tells how many there were on this thread so far, `progress` hears of each finished round.
///
/// # Panics
///
/// When a packet is lost.
pub fn run(
    choice: &Choice,
    rounds: usize,
    sample: Duration,
    allocations: fn() -> u64,
    mut progress: impl FnMut(usize),
) -> Stages {
    let chosen_case = |case: &Case| choice.cases.is_empty() || choice.cases.contains(case);
    let chosen_subject = |subject: &Subject| choice.subjects.is_empty() || choice.subjects.contains(subject);
    let mut measured = Vec::new();
    for case in Case::ALL.into_iter().filter(chosen_case) {
        for subject in Subject::ALL.into_iter().filter(chosen_subject) {
            if subject.takes(case) {
                let load = case.load(subject);
                let source: Box<dyn Source> = match subject {
                    Subject::Ring => Box::new(Meter::<RingAead>::new(load, allocations)),
                    _ => Box::new(Meter::<MultiBufferAead>::new(load, allocations)),
                };
                measured.push((case, subject, source, Vec::<Sample>::new()));
            }
        }
    }
    for round in 0..=rounds {
        for (_, _, source, samples) in &mut measured {
            let sample = source.sample(sample);
            if round > 0 {
                samples.push(sample);
            }
        }
        progress(round);
    }
    let mut stages = Stages { rows: Vec::new(), table: String::new() };
    for case in Case::ALL {
        let mut columns = Vec::new();
        for (_, subject, source, samples) in measured.iter().filter(|(of, ..)| *of == case) {
            let rows = rows(case, *subject, source.load().len, samples);
            columns.push((subject.name(), rows.clone()));
            stages.rows.extend(rows);
        }
        if !columns.is_empty() {
            stages.table += &format_table(case, &columns);
        }
    }
    stages
}

/// Nanoseconds per packet: what one sample found.
#[derive(Clone, Debug, Default)]
struct Sample {
    out: Vec<(&'static str, f64)>,
    inward: Vec<(&'static str, f64)>,
    out_total: f64,
    in_total: f64,
    /// The copy into the buffer of the lane, which the kernel does.
    read: f64,
    /// Packets of a write.
    merged: f64,
    allocations: u64,
}

trait Source {
    fn sample(&mut self, at_least: Duration) -> Sample;
    fn load(&self) -> &Load;
}

const OUT: [(&str, Stage); 5] = [
    ("read, route, queue", Stage::Read),
    ("begin", Stage::Begin),
    ("split, sum, seal", Stage::Seal),
    ("send", Stage::Send),
    ("turn", Stage::Turn),
];
const IN: [(&str, Stage); 5] = [
    ("receive, sort, begin", Stage::Sort),
    ("open, sum", Stage::Open),
    ("commit", Stage::Commit),
    ("coalesce, write", Stage::Write),
    ("turn", Stage::Turn),
];
const EDGE: &str = "copy from the host";

struct Meter<A> {
    tunnel: Tunnel<A>,
    load: Load,
    allocations: fn() -> u64,
    small: Vec<u8>,
    large: Vec<u8>,
}

impl<A: BatchAead> Meter<A> {
    fn new(load: Load, allocations: fn() -> u64) -> Self {
        Self { tunnel: Tunnel::new(load), load, allocations, small: vec![0; 2048], large: vec![0; 65_600] }
    }

    /// Nanoseconds per packet of the median of turns that last for some time, and allocations in all of them.
    fn total(&mut self, at_least: Duration, direction: Direction) -> (f64, u64) {
        let (mut turns, mut calls) = (Turns::new(1, self.load.packets()), 0);
        while !turns.are_enough(at_least) {
            direction.run(&mut self.tunnel, |turn| {
                let (before, start) = ((self.allocations)(), Instant::now());
                turn();
                let time = start.elapsed();
                calls += (self.allocations)() - before;
                turns.push(time, [time.as_secs_f64() * 1e9]);
            });
        }
        (turns.medians().next().unwrap_or(f64::NAN), calls)
    }

    fn by_stage(
        &mut self,
        at_least: Duration,
        direction: Direction,
        stages: &[(&'static str, Stage)],
    ) -> Vec<(&'static str, f64)> {
        let mut turns = Turns::new(stages.len(), self.load.packets());
        let clock = self.tunnel.clock.clone();
        // What belongs to the other direction found nothing to do, and is part of the turn.
        let own = |stage| stages.iter().any(|(_, own)| *own == stage);
        let others = || {
            OUT.iter()
                .chain(&IN)
                .filter(|(_, stage)| !own(*stage))
                .map(|(_, stage)| clock.spent(*stage))
                .sum()
        };
        while !turns.are_enough(at_least) {
            direction.run(&mut self.tunnel, |turn| {
                let start = Instant::now();
                clock.start();
                turn();
                clock.stop();
                let time = start.elapsed();
                let spent = |(_, stage): &(&str, Stage)| {
                    let others: f64 = if *stage == Stage::Turn { others() } else { 0.0 };
                    clock.spent(*stage) + others
                };
                turns.push(time, stages.iter().map(spent));
            });
        }
        stages.iter().zip(turns.medians()).map(|((name, _), time)| (*name, time)).collect()
    }
}

/// Figures of turns. Of each the median counts: in a few turns somebody else had the processor.
struct Turns {
    figures: Vec<Vec<f64>>,
    time: Duration,
    packets: f64,
}

impl Turns {
    fn new(figures: usize, packets: usize) -> Self {
        Self { figures: vec![Vec::new(); figures], time: Duration::ZERO, packets: packets as f64 }
    }

    fn are_enough(&self, at_least: Duration) -> bool {
        self.time >= at_least && self.figures.iter().all(|figures| !figures.is_empty())
    }

    fn push(&mut self, time: Duration, nanoseconds: impl IntoIterator<Item = f64>) {
        self.time += time;
        for (figures, nanoseconds) in self.figures.iter_mut().zip(nanoseconds) {
            figures.push(nanoseconds / self.packets);
        }
    }

    fn medians(self) -> impl Iterator<Item = f64> {
        self.figures.into_iter().map(|mut figures| {
            figures.sort_unstable_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
        })
    }
}

impl<A: BatchAead> Source for Meter<A> {
    fn sample(&mut self, at_least: Duration) -> Sample {
        let (out_total, out_calls) = self.total(at_least, Direction::Out);
        let out = self.by_stage(at_least, Direction::Out, &OUT);
        let mut reads = Turns::new(1, self.load.packets());
        while !reads.are_enough(at_least / 8) {
            let start = Instant::now();
            self.tunnel.read_alone(&mut self.small, &mut self.large);
            let time = start.elapsed();
            reads.push(time, [time.as_secs_f64() * 1e9]);
        }
        let read = reads.medians().next().unwrap_or(f64::NAN);
        let (in_total, in_calls) = self.total(at_least, Direction::In);
        let inward = self.by_stage(at_least, Direction::In, &IN);
        let writes = self.tunnel.writes();
        self.tunnel.inward(|turn| turn());
        let merged = self.load.packets() as f64 / (self.tunnel.writes() - writes) as f64;
        Sample { out, inward, out_total, in_total, read, merged, allocations: out_calls + in_calls }
    }

    fn load(&self) -> &Load {
        &self.load
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Out,
    In,
}

impl Direction {
    fn run<A: BatchAead>(self, tunnel: &mut Tunnel<A>, turn: impl FnOnce(&mut dyn FnMut())) {
        match self {
            Self::Out => tunnel.outward(turn),
            Self::In => tunnel.inward(turn),
        }
    }
}

fn rows(case: Case, subject: Subject, len: usize, samples: &[Sample]) -> Vec<Row> {
    let row = |direction: &str, metric: &str, unit: &str, figures: Vec<f64>| {
        Row::new(BENCH, subject.name(), &format!("{direction}/{}", case.name()), metric, unit, &figures)
    };
    let of = |figure: &dyn Fn(&Sample) -> f64| samples.iter().map(figure).collect::<Vec<_>>();
    let rates = |total: &Row| {
        let bits = len as f64 * 8.0;
        [
            total.derive("rate", "Gbit/s", |time| bits / time),
            total.derive("packets", "Mpps", |time| 1000.0 / time),
        ]
    };
    let mut rows = Vec::new();
    let at = |parts: &[(&str, f64)], at: usize| parts.get(at).map_or(f64::NAN, |(_, time)| *time);
    for (number, (name, _)) in OUT.iter().enumerate() {
        rows.push(row("out", name, TIME, of(&|sample| at(&sample.out, number))));
    }
    rows.push(row("out", EDGE, TIME, of(&|sample| sample.read)));
    let total = row("out", "total", TIME, of(&|sample| sample.out_total));
    rows.extend([total.clone()].into_iter().chain(rates(&total)));
    for (number, (name, _)) in IN.iter().enumerate() {
        rows.push(row("in", name, TIME, of(&|sample| at(&sample.inward, number))));
    }
    let total = row("in", "total", TIME, of(&|sample| sample.in_total));
    rows.extend([total.clone()].into_iter().chain(rates(&total)));
    rows.push(row("in", "merged", "packets/write", of(&|sample| sample.merged)));
    let total = row("both", "total", TIME, of(&|sample| sample.out_total + sample.in_total));
    rows.extend([total.clone()].into_iter().chain(rates(&total)));
    rows.push(row("both", "allocations", "", of(&|sample| sample.allocations as f64)));
    rows
}

/// A block for a case: a stage or figure a line, a subject a column.
fn format_table(case: Case, columns: &[(&str, Vec<Row>)]) -> String {
    let mut lines = vec![vec![case.name().to_owned(), "ns/packet".to_owned()]];
    lines[0].extend(columns.iter().map(|(subject, _)| (*subject).to_owned()));
    let Some((_, first)) = columns.first() else { return String::new() };
    for (at, row) in first.iter().enumerate() {
        let direction = row.case.split('/').next().unwrap_or_default();
        let mut metric = row.metric.clone();
        if row.metric == EDGE {
            metric = format!("(of which {EDGE})");
        }
        let unit = if row.unit == TIME { "" } else { row.unit.as_str() };
        let mut line = vec![format!("{direction:<5} {metric}"), unit.to_owned()];
        line.extend(
            columns.iter().map(|(_, rows)| rows.get(at).map_or(String::new(), |row| figure(row.median))),
        );
        lines.push(line);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut table = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells.map(
            |(column, (cell, &width))| {
                if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            },
        );
        table += cells.collect::<Vec<_>>().join("  ").trim_end();
        table.push('\n');
    }
    table.push('\n');
    table
}

fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        ..100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_goes_through_and_has_all_its_rows() {
        let choice = Choice { cases: vec![Case::Tcp, Case::Udp], subjects: Vec::new() };
        let stages = run(&choice, 1, Duration::ZERO, || 0, |_| {});
        let count = Subject::ALL.len() * choice.cases.len();
        assert_eq!((stages.rows.len() % count, stages.rows.len() / count > 20), (0, true));
        let merged = |subject: &str, case: Case| {
            let case = format!("in/{}", case.name());
            let is_it =
                |row: &&Row| (row.subject.as_str(), &row.case) == (subject, &case) && row.metric == "merged";
            stages.rows.iter().find(is_it).unwrap().median
        };
        assert!(merged("default", Case::Tcp) > 30.0);
        assert!(merged("ring", Case::Udp) > 60.0);
        for subject in ["no coalescing", "no offloads"] {
            assert_eq!(merged(subject, Case::Tcp), 1.0);
        }
        let lines = stages.table.lines().filter(|line| !line.is_empty()).count();
        assert_eq!(lines, choice.cases.len() * (1 + stages.rows.len() / count));
    }

    #[test]
    fn packets_of_many_peers_go_through() {
        let load = Load { peers: 3, frames: 6, ..Case::Peers.load(Subject::Default) };
        let sample = Meter::<MultiBufferAead>::new(load, || 0).sample(Duration::ZERO);
        assert!(sample.out_total > 0.0 && sample.in_total > 0.0, "{sample:?}");
    }
}
