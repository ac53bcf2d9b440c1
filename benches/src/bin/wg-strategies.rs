//! Prints what each strategy takes of a packet, from memory to memory, and what a hand-off costs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use wg_benches::report;
use wg_benches::strategies::{self, Choice};

/// Measures all strategies without the kernel: nanoseconds per packet by threads, peers and lengths; and what a batch pays to
/// change threads.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Also write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many samples each figure gets.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    choice: Choice,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let rounds = usize::try_from(cli.rounds).unwrap_or(usize::MAX);
    let measured = strategies::run(&cli.choice, rounds, report::progress(rounds));
    print!("{}", measured.table);
    report::end(cli.json.as_deref(), &measured.rows)
}
