//! ChaCha20-Poly1305: the backends of `wg-aead` and the libraries, by length and size of the batch.

use core::fmt::Write;
use std::time::Instant;

use super::Plan;
use crate::load::{BATCHES, Packets, Subject};
use crate::report::Row;

/// Lengths: nothing, small packets, full ones in front of and behind WireGuard's headers, and a jumbo.
const LENGTHS: [usize; 9] = [0, 64, 128, 256, 512, 1024, 1420, 1452, 8900];
/// Sizes of batches.
const DEFAULT_BATCHES: [usize; 6] = [1, 2, 4, 8, 16, 64];
/// Lengths that are measured with many keys, too.
const LENGTHS_WITH_KEYS: [usize; 3] = [64, 256, 1420];
/// How many keys that is.
const KEYS: usize = 16;
/// What traffic is made of: acknowledgements, names, voice, full packets.
const MIXED: [usize; 16] = [64, 1420, 1420, 80, 1420, 576, 64, 212, 1420, 1420, 96, 128, 1420, 64, 360, 1420];
/// What all others are compared with.
const BASELINE: Subject = Subject::Ring;

/// Which part is to be measured; nothing said is everything.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "For `aead`")]
pub struct Choice {
    /// Lengths in bytes; `mixed` rows are measured if none is given.
    #[arg(long, value_name = "BYTES", value_delimiter = ',')]
    pub lengths: Vec<usize>,
    /// Sizes of batches.
    #[arg(long, value_name = "PACKETS", value_delimiter = ',', value_parser = a_batch)]
    pub batches: Vec<usize>,
    /// Backends and libraries, by parts of their names; `ring` is always measured, for the ratio.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub backends: Vec<String>,
}

fn a_batch(text: &str) -> Result<usize, String> {
    let size = text.parse().map_err(|_| format!("{text} is no number"))?;
    if BATCHES.contains(&size) { Ok(size) } else { Err(format!("a batch has one of {BATCHES:?} packets")) }
}

impl Choice {
    fn lengths(&self) -> &[usize] {
        if self.lengths.is_empty() { &LENGTHS } else { &self.lengths }
    }

    fn batches(&self) -> &[usize] {
        if self.batches.is_empty() { &DEFAULT_BATCHES } else { &self.batches }
    }

    fn subjects(&self) -> Vec<Subject> {
        let wanted = |subject: &Subject| {
            let name = subject.to_string();
            *subject == BASELINE
                || self.backends.is_empty()
                || self.backends.iter().any(|part| name.contains(part))
        };
        Subject::all().into_iter().filter(wanted).collect()
    }

    /// The loads, with what stands behind seal and open in the name of their cases.
    fn loads(&self) -> Vec<(String, Packets)> {
        let mut loads = Vec::new();
        for len in self.lengths() {
            for batch in self.batches() {
                loads.push((format!("{len}B/batch{batch}"), Packets::new(&[*len], *batch, 1)));
            }
            if LENGTHS_WITH_KEYS.contains(len) && self.batches().contains(&64) {
                loads.push((format!("{len}B/batch64/keys{KEYS}"), Packets::new(&[*len], 64, KEYS)));
            }
        }
        if self.lengths.is_empty() && self.batches().contains(&64) {
            loads.push(("mixed/batch64".into(), Packets::new(&MIXED, 64, 1)));
        }
        loads
    }
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// The rows `ns_per_packet` and `times_ring`.
    pub rows: Vec<Row>,
    /// All of it as a table.
    pub table: String,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Seal,
    Open,
}

/// Measures: in each round each load by each subject, who take turns at being the first.
///
/// `times_ring` is how many times faster than `ring` in the same round.
pub fn run(choice: &Choice, plan: Plan, mut progress: impl FnMut(usize)) -> Measured {
    let subjects = choice.subjects();
    let mut loads = choice.loads();
    let directions = [(Direction::Seal, "seal"), (Direction::Open, "open")];
    let mut samples = vec![vec![Vec::with_capacity(plan.rounds); subjects.len()]; 2 * loads.len()];
    for round in 0..=plan.rounds {
        for ((_, load), samples) in loads.iter_mut().zip(samples.chunks_exact_mut(2)) {
            for ((direction, _), samples) in directions.iter().zip(samples) {
                for turn in 0..subjects.len() {
                    let at = (round + turn) % subjects.len();
                    let sample = sample(load, *direction, subjects[at], plan);
                    if round != 0 {
                        samples[at].push(sample);
                    }
                }
            }
        }
        progress(round);
    }
    let mut measured = Measured { rows: Vec::new(), table: heading() };
    for (at, (_, direction)) in directions.iter().enumerate() {
        for ((name, load), samples) in loads.iter().zip(samples.chunks_exact(2)) {
            let case = format!("{direction}/{name}");
            let bytes = load.bytes() as f64 / load.count() as f64;
            measured.add(&case, bytes, &subjects, &samples[at]);
        }
    }
    measured
}

/// Nanoseconds per packet.
fn sample(load: &mut Packets, direction: Direction, subject: Subject, plan: Plan) -> f64 {
    let (mut nanoseconds, mut packets) = (0.0, 0);
    while packets == 0 || nanoseconds < plan.sample.as_secs_f64() * 1e9 {
        if let Direction::Open = direction {
            load.refill();
        }
        let start = Instant::now();
        match direction {
            Direction::Seal => load.seal(subject),
            Direction::Open => load.open(subject),
        }
        nanoseconds += start.elapsed().as_secs_f64() * 1e9;
        packets += load.count();
    }
    nanoseconds / packets as f64
}

impl Measured {
    /// Adds what came of a case whose packets have `bytes`, by subject.
    fn add(&mut self, case: &str, bytes: f64, subjects: &[Subject], samples: &[Vec<f64>]) {
        let times: Vec<Row> = subjects
            .iter()
            .zip(samples)
            .map(|(subject, samples)| {
                Row::new("aead", &subject.to_string(), case, "ns_per_packet", "ns", samples)
            })
            .collect();
        let Some(baseline) = subjects.iter().position(|subject| *subject == BASELINE) else { return };
        let _ = writeln!(self.table, "\n{case}");
        for (time, of_subject) in times.iter().zip(samples) {
            let ratios: Vec<f64> =
                samples[baseline].iter().zip(of_subject).map(|(ring, ours)| ring / ours).collect();
            let ratio = Row::new("aead", &time.subject, case, "times_ring", "", &ratios);
            let _ = writeln!(
                self.table,
                "  {:<20}{:>9.1}{:>9.1}{:>9.2}{:>9.2}{:>9.2}{:>9.2}",
                time.subject,
                time.median,
                time.min,
                bytes / time.median,
                1e3 / time.median,
                ratio.median,
                times[baseline].min / time.min,
            );
            self.rows.push(time.clone());
            self.rows.push(ratio);
        }
    }
}

fn heading() -> String {
    let columns = ["ns", "ns min", "GB/s", "Mpps", "x ring", "of mins"];
    let mut heading = format!("{:<22}", "per packet");
    for column in columns {
        let _ = write!(heading, "{column:>9}");
    }
    heading + "\n"
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn every_case_gives_two_rows_for_every_subject() {
        let choice = Choice {
            lengths: vec![64, 128],
            batches: vec![4, 64],
            backends: vec!["rustcrypto".into(), "portable".into()],
        };
        let plan = Plan { rounds: 2, sample: Duration::ZERO };
        let mut rounds = Vec::new();
        let Measured { rows, table } = run(&choice, plan, |round| rounds.push(round));
        assert_eq!(rounds, [0, 1, 2]);
        // Both directions of two lengths by two batches, and of 64 bytes with 16 keys.
        assert_eq!(rows.len(), 2 * (2 * 2 + 1) * 3 * 2, "{table}");
        assert!(rows.iter().all(|row| row.n == 2 && row.median > 0.0), "{table}");
        let of = |subject: &str, case: &str, metric: &str| {
            rows.iter().find(|row| row.subject == subject && row.case == case && row.metric == metric)
        };
        assert!(of("wg-aead/portable", "seal/64B/batch64", "ns_per_packet").is_some());
        assert!(of("rustcrypto", "open/64B/batch64/keys16", "ns_per_packet").is_some());
        assert_eq!(of("ring", "open/128B/batch4", "times_ring").map(|row| row.median), Some(1.0));
    }
}
