//! Prints what each stage of the datapath costs, from memory to memory, on one core.

use core::time::Duration;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use wg_benches::report;
use wg_benches::stages::{self, Choice};
use wg_netns::process::pin_thread;
use wg_tally::allocator;

/// Measures the datapath without the kernel: nanoseconds per packet by stage, and allocations.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Also write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many samples each load gets.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long one sample of one figure takes at least, in microseconds.
    #[arg(long, value_name = "US", default_value_t = 2000)]
    sample: u64,
    #[command(flatten)]
    choice: Choice,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The last processor has the fewest interrupts as a rule.
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    pin_thread(Some(last));
    let rounds = usize::try_from(cli.rounds).unwrap_or(usize::MAX);
    let measured = stages::run(
        &cli.choice,
        rounds,
        Duration::from_micros(cli.sample),
        allocator::calls,
        report::progress(rounds),
    );
    print!("{}", measured.table);
    report::end(cli.json.as_deref(), &measured.rows)
}
