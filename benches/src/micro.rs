//! Measures the parts in one process, the subjects taking turns: in every round each case gets one sample, so what
//! disturbs the machine for a while disturbs all of them.

pub mod aead;
mod allowed_ips;
mod crypto;
mod handshake;

use core::fmt;
use core::time::Duration;
use std::time::Instant;

use crate::report::Row;

/// What there is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Bench {
    /// ChaCha20-Poly1305: every backend of `wg-aead`, and libraries, by length and batch.
    Aead,
    /// Sealing and opening of transport data, by backend.
    Crypto,
    /// The messages of a handshake, by backend of X25519, and checks of MAC1.
    Handshake,
    /// Lookups and changes of the allowed-IPs table.
    AllowedIps,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many samples each case gets.
    pub rounds: usize,
    /// How long one sample takes at least.
    pub sample: Duration,
}

impl Plan {
    /// What a bench needs: one with many cases more rounds of shorter samples.
    #[must_use]
    pub const fn of(bench: Bench) -> Self {
        match bench {
            Bench::Aead => Self { rounds: 101, sample: Duration::from_micros(50) },
            _ => Self { rounds: 21, sample: Duration::from_millis(15) },
        }
    }
}

/// Runs a bench; `progress` hears of each finished round.
pub fn run(bench: Bench, plan: Plan, progress: impl FnMut(usize)) -> Vec<Row> {
    match bench {
        Bench::Aead => aead::run(&aead::Choice::default(), plan, progress).rows,
        Bench::Crypto => crypto::run(plan, progress),
        Bench::Handshake => handshake::run(plan, progress),
        Bench::AllowedIps => allowed_ips::run(plan, progress),
    }
}

/// Work that can be repeated: does some and says how long it took, set-up left out, and how many operations it was.
struct Case {
    subject: &'static str,
    name: String,
    work: Box<dyn FnMut() -> (Duration, u64)>,
}

impl Case {
    fn new(
        subject: &'static str,
        name: impl fmt::Display,
        work: impl FnMut() -> (Duration, u64) + 'static,
    ) -> Self {
        Self { subject, name: name.to_string(), work: Box::new(work) }
    }

    /// Nanoseconds per operation.
    fn sample(&mut self, at_least: Duration) -> f64 {
        let (mut time, mut operations) = (Duration::ZERO, 0);
        while time < at_least || operations == 0 {
            let (more_time, more_operations) = (self.work)();
            time += more_time;
            operations += more_operations;
        }
        time.as_secs_f64() * 1e9 / operations as f64
    }
}

/// Samples all cases round by round, after a round that warms up; one row of nanoseconds for each case.
fn interleave(
    bench: &str,
    unit: &str,
    mut cases: Vec<Case>,
    plan: Plan,
    progress: impl FnMut(usize),
) -> Vec<Row> {
    let samples = sample(&mut cases, plan, progress);
    let row = |(case, samples): (&Case, &Vec<f64>)| {
        Row::new(bench, case.subject, &case.name, "time", unit, samples)
    };
    cases.iter().zip(&samples).map(row).collect()
}

/// The samples of all cases, of each in the order of rounds.
fn sample(cases: &mut [Case], plan: Plan, mut progress: impl FnMut(usize)) -> Vec<Vec<f64>> {
    let mut samples = vec![Vec::with_capacity(plan.rounds); cases.len()];
    for round in 0..=plan.rounds {
        for (case, samples) in cases.iter_mut().zip(&mut samples) {
            let sample = case.sample(plan.sample);
            if round != 0 {
                samples.push(sample);
            }
        }
        progress(round);
    }
    samples
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = core::hint::black_box(work());
    (start.elapsed(), result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bench_gives_a_row_for_every_case() {
        let plan = Plan { rounds: 1, sample: Duration::ZERO };
        // `aead` has a test of its own.
        for (bench, rows) in [(Bench::Crypto, 24), (Bench::Handshake, 36), (Bench::AllowedIps, 18)] {
            let mut rounds = Vec::new();
            let result = run(bench, plan, |round| rounds.push(round));
            assert_eq!((result.len(), rounds), (rows, vec![0, 1]), "{bench:?}");
            assert!(result.iter().all(|row| row.n == 1 && row.median > 0.0), "{result:?}");
        }
    }

    #[test]
    fn cases_take_turns() {
        use core::cell::RefCell;
        use std::rc::Rc;

        let order = Rc::new(RefCell::new(String::new()));
        let case = |letter| {
            let order = Rc::clone(&order);
            Case::new("subject", letter, move || {
                order.borrow_mut().push(letter);
                (Duration::from_nanos(20), 10)
            })
        };
        let plan = Plan { rounds: 2, sample: Duration::from_nanos(1) };
        let rows = interleave("bench", "ns", vec![case('a'), case('b')], plan, |_| {});
        assert_eq!(*order.borrow(), "ababab");
        assert!(rows.iter().all(|row| row.n == 2 && (row.median - 2.0).abs() < 1e-9), "{rows:?}");
    }
}
