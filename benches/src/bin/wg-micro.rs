//! Measures the AEAD, seal and open, the handshake, or the allowed-IPs table, and prints a table.

use core::time::Duration;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use wg_benches::micro::aead::{self, Choice};
use wg_benches::micro::{self, Bench, Plan};
use wg_benches::report;

/// Measures the parts of the wg crates, the subjects taking turns in one process.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// What to measure.
    name: Bench,
    /// Also write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many samples each case gets.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long one sample takes at least, in microseconds.
    #[arg(long, value_name = "US")]
    sample: Option<u64>,
    #[command(flatten)]
    choice: Choice,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let usual = Plan::of(cli.name);
    let plan = Plan {
        rounds: cli.rounds.unwrap_or(usual.rounds),
        sample: cli.sample.map_or(usual.sample, Duration::from_micros),
    };
    let progress = report::progress(plan.rounds);
    let rows = if cli.name == Bench::Aead {
        let measured = aead::run(&cli.choice, plan, progress);
        println!("{}\n\n{}", processor(), measured.table);
        measured.rows
    } else {
        let rows = micro::run(cli.name, plan, progress);
        report::print_table(&rows);
        rows
    };
    report::end(cli.json.as_deref(), &rows)
}

/// What the system calls its processor.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "a processor without a name".to_owned(), |(_, name)| name.to_owned())
}
