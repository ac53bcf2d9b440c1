//! `cargo xtask soak host`: rows R1 to R5 and L1 of the fault matrix on a real kernel, resumable.
//!
//! A row is a number of trials, each with a seed: fresh gateways in fresh namespaces, some faults, and what became of traffic.
//! The rows take turns, a trial each, until each has had its minutes or its full volume. What was done and measured is written
//! down after each trial; a second run goes on with the seeds that are left, and prints the account of both.
//!
//! K4 is `cargo xtask soak decrypt`.

mod figures;
mod fill;
mod life;
mod relocate;
mod restart;
mod shortage;
mod storm;

use core::time::Duration;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use wg_netns::{Program, Requirements, cleanup};

use crate::cargo::{self, Profile};
use crate::install;
use crate::report::print_table;
use crate::soak::progress::{Counts, Progress};

/// How long, and what.
#[derive(Debug, Args)]
#[group(id = "host")]
pub(crate) struct Options {
    /// Minutes for each row; its last trial may take longer.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The rows of the matrix, all unless said otherwise.
    #[arg(long, value_enum, value_delimiter = ',', ignore_case = true)]
    rows: Vec<Row>,
    /// The seed of the first trial.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to keep what was done; a second run goes on from there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The days of L1; with 4320 minutes they are as long as days are.
const DAYS: u32 = 3;

/// A row of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Row {
    /// `kill -9` of either side.
    R1,
    /// Link down and up, change of address, change of port.
    R2,
    /// Configuration as a storm.
    R3,
    /// Descriptors, memory and the interface are taken away; the kernel refuses packets.
    R4,
    /// 1,000 and 10,000 peers.
    R5,
    /// Three days of everything, each in a third of the minutes.
    L1,
}

impl Row {
    const ALL: [Self; 6] = [Self::R1, Self::R2, Self::R3, Self::R4, Self::R5, Self::L1];

    const fn name(self) -> &'static str {
        match self {
            Self::R1 => "R1",
            Self::R2 => "R2",
            Self::R3 => "R3",
            Self::R4 => "R4",
            Self::R5 => "R5",
            Self::L1 => "L1",
        }
    }

    /// The counter that it is measured by, and its full volume.
    const fn volume(self) -> (&'static str, u64) {
        match self {
            Self::R1 => ("kills", 1000),
            // One every ten seconds for two hours.
            Self::R2 => ("faults", 720),
            // A thousand a second for an hour.
            Self::R3 => ("requests", 3_600_000),
            Self::R4 => ("shortages of each kind", 1000),
            // Ten changes a second for two hours.
            Self::R5 => ("changes", 72_000),
            Self::L1 => ("days", DAYS as u64),
        }
    }

    /// One trial, of a row that has so much time for all of them.
    fn trial(self, seed: u64, counts: &mut Counts, limit: Duration) -> Result<(), String> {
        match self {
            Self::R1 => restart::trial(seed, counts),
            Self::R2 => relocate::trial(seed, counts),
            Self::R3 => storm::trial(seed, counts),
            Self::R4 => shortage::trial(seed, counts),
            Self::R5 => fill::trial(seed, counts),
            Self::L1 => life::trial(seed, counts, limit / DAYS),
        }
    }
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    install::programs(&[&install::NAMESPACES, &install::WIREGUARD]);
    let requirements = Requirements::check().and_program("ping", "iputils-ping");
    if !requirements.missing().is_empty() {
        return Err(format!("The rows of the host need:\n  {}", requirements.missing().join("\n  ")));
    }
    let limit = Duration::try_from_secs_f64(options.minutes * 60.0).map_err(|error| error.to_string())?;
    Program::gateway_is_at(cargo::build_gateway(Profile::Release)?);
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => cargo::target_directory()?.join("soak-progress"),
    };
    let file = dir.join("host.json");
    let mut progress = Progress::load(&file)?;
    // What the harness cannot set up is a panic that says why; after Ctrl-C it says nothing.
    std::panic::set_hook(Box::new(|info| {
        cleanup::stop_if_ending();
        eprintln!("{info}");
    }));
    let rows = if options.rows.is_empty() { &Row::ALL[..] } else { &options.rows };
    let mut spent = vec![Duration::ZERO; rows.len()];
    let mut failure = None;
    'rows: loop {
        let mut idle = true;
        for (row, spent) in rows.iter().zip(&mut spent) {
            let (counter, volume) = row.volume();
            if *spent >= limit || progress.count(row.name(), counter) >= volume {
                continue;
            }
            idle = false;
            let (seed, start) = (progress.take(row.name(), options.seed), Instant::now());
            let mut counts = Counts::new();
            let done = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
                row.trial(seed, &mut counts, limit)
            }))
            .unwrap_or_else(|_| Err("it ended with a panic".into()));
            cleanup::stop_if_ending();
            *spent += start.elapsed();
            println!("{}, seed {seed}, {:.1} s: {done:?}", row.name(), start.elapsed().as_secs_f64());
            // What was broken is not done: the next run begins with its seed.
            if let Err(what) = done {
                failure = Some(format!("{} with seed {seed}: {what}", row.name()));
                break 'rows;
            }
            progress.done(row.name(), seed, &counts, &file)?;
        }
        if idle {
            break;
        }
    }
    for row in rows {
        let ((counter, volume), trials) = (row.volume(), progress.runs(row.name()));
        let reached = progress.count(row.name(), counter) as f64 * 100.0 / volume as f64;
        println!("\n{}: {trials} trials, {reached:.2} % of {volume} {counter}", row.name());
        print_table(&figures::table(&progress.counts(row.name())));
    }
    println!("\nkept in {}", file.display());
    failure.map_or(Ok(()), Err)
}

/// Numbers that follow from a seed (SplitMix64): the same trial again for the same seed.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}
