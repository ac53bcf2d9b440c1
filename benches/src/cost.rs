//! What the kernel and the memory of this machine cost: one figure for each primitive that a gateway is made of.
//!
//! In each round every primitive gets one sample, after a round that warms up, so that what disturbs the machine for a while
//! disturbs all of them. All interfaces are in namespaces of their own. What a machine does not have is left out, with the
//! reason.

mod memory;
mod tun;
mod udp;
mod wake;

use core::time::Duration;
use std::io;
use std::time::Instant;

use crate::report::Row;

const BENCH: &str = "io";

/// One sample of a primitive.
#[derive(Clone, Debug)]
struct Sample {
    subject: &'static str,
    case: String,
    /// Nanoseconds of one operation.
    nanoseconds: f64,
    /// How many packets that is; none if it has nothing to do with packets.
    segments: Option<f64>,
}

impl Sample {
    fn new(subject: &'static str, case: impl Into<String>, time: Duration, operations: usize) -> Self {
        let nanoseconds = time.as_secs_f64() * 1e9 / operations.max(1) as f64;
        Self { subject, case: case.into(), nanoseconds, segments: None }
    }

    fn of_segments(self, count: usize) -> Self {
        Self { segments: Some(count as f64), ..self }
    }
}

/// Something that gives samples of some primitives, each time one of each.
trait Source {
    fn sample(&mut self) -> io::Result<Vec<Sample>>;
}

impl<F: FnMut() -> io::Result<Vec<Sample>>> Source for F {
    fn sample(&mut self) -> io::Result<Vec<Sample>> {
        self()
    }
}

/// What was measured, and what could not be.
#[derive(Debug, Default)]
pub struct Costs {
    /// Nanoseconds by operation, and by segment where there are some.
    pub rows: Vec<Row>,
    /// What is missing, and why.
    pub missing: Vec<String>,
}

/// Measures; `progress` hears of each finished round.
///
/// # Panics
///
/// When namespaces cannot be made.
pub fn run(rounds: usize, mut progress: impl FnMut(usize)) -> Costs {
    let mut costs = Costs::default();
    let mut sources: Vec<(&'static str, Box<dyn Source>)> = memory::sources();
    sources.extend(wake::sources());
    sources.extend(tun::sources(&mut costs.missing));
    sources.extend(udp::sources(&mut costs.missing));
    let mut all: Vec<(Sample, Vec<f64>)> = Vec::new();
    for round in 0..=rounds {
        sources.retain_mut(|(name, source)| match source.sample() {
            Ok(samples) => {
                if round > 0 {
                    samples.into_iter().for_each(|sample| take(&mut all, sample));
                }
                true
            }
            Err(error) => {
                costs.missing.push(format!("{name}: {error}"));
                false
            }
        });
        progress(round);
    }
    for (sample, nanoseconds) in all {
        let row = Row::new(BENCH, sample.subject, &sample.case, "time", "ns/operation", &nanoseconds);
        let by_segment = sample.segments.map(|count| row.derive("time", "ns/segment", |time| time / count));
        costs.rows.push(row);
        costs.rows.extend(by_segment);
    }
    costs
}

fn take(all: &mut Vec<(Sample, Vec<f64>)>, sample: Sample) {
    let same =
        |(first, _): &&mut (Sample, Vec<f64>)| (first.subject, &first.case) == (sample.subject, &sample.case);
    match all.iter_mut().find(same) {
        Some((_, nanoseconds)) => nanoseconds.push(sample.nanoseconds),
        None => all.push((sample.clone(), vec![sample.nanoseconds])),
    }
}

/// Lays the rows out: a primitive a line, its cost by operation, and by segment.
#[must_use]
pub fn format_table(rows: &[Row]) -> String {
    let mut lines = vec![["", "", "ns/operation", "least to most", "ns/segment"].map(str::to_owned)];
    for row in rows {
        if row.unit == "ns/segment" {
            if let Some(line) = lines.last_mut() {
                line[4] = figure(row.median);
            }
            continue;
        }
        let spread = format!("{} to {}", figure(row.min), figure(row.max));
        lines.push([row.subject.clone(), row.case.clone(), figure(row.median), spread, String::new()]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let [subject, case, operation, spread, segment] = [0, 1, 2, 3, 4].map(width);
    let mut table = String::new();
    for line in &lines {
        let [a, b, c, d, e] = line;
        let text = format!("{a:<subject$}  {b:<case$}  {c:>operation$}  {d:>spread$}  {e:>segment$}");
        table += text.trim_end();
        table.push('\n');
    }
    table
}

fn figure(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = core::hint::black_box(work());
    (start.elapsed(), result)
}

/// The processors that two threads are put on, where there are two.
fn two_processors() -> Option<[usize; 2]> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (count > 1).then_some([0, 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primitive_of_segments_has_both_figures_on_one_line() {
        let time = Duration::from_micros(10);
        let mut all = Vec::new();
        for _ in 0..3 {
            take(&mut all, Sample::new("write", "64 x 36 B", time, 10).of_segments(50));
            take(&mut all, Sample::new("call", "empty", time, 100));
        }
        assert_eq!(all.iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(), [3, 3]);
        let row = Row::new(BENCH, "write", "64 x 36 B", "time", "ns/operation", &all[0].1);
        let by_segment = row.derive("time", "ns/segment", |time| time / 50.0);
        let table = format_table(&[row, by_segment]);
        let line: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["write", "64", "x", "36", "B", "1000", "1000", "to", "1000", "20.0"]);
    }

    #[test]
    fn every_primitive_of_memory_costs_something() {
        for (name, mut source) in memory::sources().into_iter().chain(wake::sources()) {
            let samples = source.sample().unwrap();
            assert!(!samples.is_empty() && samples.iter().all(|sample| sample.nanoseconds > 0.0), "{name}");
        }
    }
}
