//! `cargo xtask soak flood`: H1-H5 of the fault matrix, the gateway and wireguard-go by turns under the same floods.
//!
//! Method. In each round and row the programs take turns; each turn starts fresh processes on the site of `wg_netns::site` and
//! measures the same twice: with the flood going to a sink, where it takes the same processor time of the machine and
//! reaches nobody, and with the flood going to the program. What counts is the ratio of the two, so that neither the
//! program's speed nor the cost of the generator is in it. Meanwhile a hundred honest newcomers begin their sessions, and
//! after the end of the flood echo requests show when all is as before. The victim has one processor, everybody else
//! another. A figure of the table is the median over the rounds.

mod figures;
mod turn;

use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wg_netns::{Program, Requirements, cleanup, flood};

use crate::cargo::{self, Profile};
use crate::{install, report};
use figures::Samples;
use turn::Plan;

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each flood lasts, in seconds; newcomers have eleven to begin their sessions in.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(2..=86_400))]
    seconds: u32,
    /// The rows of the matrix, all unless said otherwise.
    #[arg(long, value_enum, value_delimiter = ',', ignore_case = true)]
    rows: Vec<Row>,
    /// How many rounds; the programs take turns in each.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Also writes the figures to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A row of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Row {
    /// Initiations with a wrong MAC1.
    H1,
    /// Initiations with a right MAC1 from spoofed sources.
    H2,
    /// The same, as many as the generator can send.
    H3,
    /// Data with a live index and a wrong tag.
    H4,
    /// Initiations from a thousand sources that prove their address.
    H5,
}

impl Row {
    const ALL: [Self; 5] = [Self::H1, Self::H2, Self::H3, Self::H4, Self::H5];

    const fn name(self) -> &'static str {
        match self {
            Self::H1 => "H1",
            Self::H2 => "H2",
            Self::H3 => "H3",
            Self::H4 => "H4",
            Self::H5 => "H5",
        }
    }

    const fn describe(self) -> &'static str {
        match self {
            Self::H1 => "initiations with a wrong MAC1",
            Self::H2 => "initiations with a right MAC1, spoofed sources",
            Self::H3 => "initiations with a right MAC1, spoofed sources, at line rate",
            Self::H4 => "data with a live index and a wrong tag",
            Self::H5 => "initiations from 1,000 sources that use their cookies",
        }
    }

    /// Datagrams a second.
    const fn rate(self) -> u32 {
        match self {
            Self::H1 | Self::H2 => 10_000,
            // A hundred a second from each source make as much.
            Self::H3 | Self::H5 => 100_000,
            Self::H4 => 200_000,
        }
    }

    /// The flood; `index` is one that the victim receives at.
    const fn kind(self, index: u32) -> flood::Kind {
        match self {
            Self::H1 => flood::Kind::WrongMac1,
            Self::H2 | Self::H3 => flood::Kind::RightMac1,
            Self::H4 => flood::Kind::LiveIndex(index),
            Self::H5 => flood::Kind::Verified,
        }
    }
}

/// The programs, in the order of the table.
const PROGRAMS: [Program; 2] = [Program::Gateway, Program::WireguardGo];

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if cfg!(debug_assertions) {
        return cargo::again_in_release();
    }
    install::programs(&[&install::NAMESPACES, &install::WIREGUARD]);
    let requirements =
        Requirements::check().and_program("ping", "iputils-ping").and_program("wireguard-go", "wireguard-go");
    if !requirements.missing().is_empty() {
        return Err(format!("The floods need:\n  {}", requirements.missing().join("\n  ")));
    }
    Program::gateway_is_at(cargo::build_gateway(Profile::Release)?);
    // What the harness cannot set up is a panic that says why; after Ctrl-C it says nothing.
    std::panic::set_hook(Box::new(|info| {
        cleanup::stop_if_ending();
        eprintln!("{info}");
    }));
    let measured = std::panic::catch_unwind(|| measure(options));
    cleanup::stop_if_ending();
    measured.unwrap_or_else(|_| Err("Everything it had made is removed.".into()))
}

fn measure(options: &Options) -> Result<(), String> {
    let rows = if options.rows.is_empty() { &Row::ALL[..] } else { &options.rows };
    let plan = Plan::new(Duration::from_secs(options.seconds.into()));
    let turns = u32::try_from(rows.len() * PROGRAMS.len()).unwrap_or(u32::MAX).saturating_mul(options.rounds);
    let minutes = (plan.length() * turns).as_secs().div_ceil(60);
    println!("{turns} turns of {} s: about {minutes} minutes", plan.length().as_secs());
    let mut samples: Vec<[Samples; 2]> = rows.iter().map(|_| Default::default()).collect();
    for round in 1..=options.rounds {
        for (row, samples) in rows.iter().zip(&mut samples) {
            for (program, samples) in PROGRAMS.into_iter().zip(samples) {
                let figures = turn::take(*row, program, &plan)?;
                println!(
                    "round {round} of {}, {}, {}: {figures}",
                    options.rounds,
                    row.name(),
                    program.name()
                );
                samples.push(figures);
            }
        }
    }
    let mut all = Vec::new();
    let mut worse = Vec::new();
    for (row, samples) in rows.iter().zip(&samples) {
        println!("\n{}: {}, {} a second asked for", row.name(), row.describe(), row.rate());
        report::print_table(&figures::table(samples));
        all.extend(figures::rows(row.name(), PROGRAMS.map(Program::name), samples));
        worse.extend(figures::worse(samples).map(|figure| format!("{}: {figure}", row.name())));
    }
    if let Some(path) = &options.json {
        report::write_json(path, &all)?;
    }
    if worse.is_empty() {
        println!("\nAt least equal to {} in every row.", Program::WireguardGo.name());
        return Ok(());
    }
    Err(format!("\nWorse than {}:\n  {}", Program::WireguardGo.name(), worse.join("\n  ")))
}
