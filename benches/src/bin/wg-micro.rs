//! Measures seal and open, the handshake, or the allowed-IPs table, and prints a table.

use core::time::Duration;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
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
    #[arg(long, default_value_t = Plan::default().rounds)]
    rounds: usize,
    /// How long one sample takes at least, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 15)]
    sample: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let plan = Plan { rounds: cli.rounds, sample: Duration::from_millis(cli.sample) };
    let live = io::stderr().is_terminal();
    let rows = micro::run(cli.name, plan, |round| {
        if live {
            let end = if round == plan.rounds { '\n' } else { '\r' };
            eprint!("round {round} of {}{end}", plan.rounds);
            let _ = io::stderr().flush();
        }
    });
    report::print_table(&rows);
    if let Some(path) = cli.json
        && let Err(error) = report::write_json(&path, &rows)
    {
        eprintln!("cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
