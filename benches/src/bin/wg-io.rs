//! Prints what the kernel and the memory of this machine cost, one line a primitive. Needs root and `/dev/net/tun`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use wg_benches::{cost, report};
use wg_netns::{Requirements, cleanup};

/// Measures system calls with and without offloads, copies, and what another core has in its cache.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Also write the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many samples each primitive gets.
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let requirements = Requirements::check();
    if !requirements.missing().is_empty() {
        eprintln!("The bench needs:\n  {}", requirements.missing().join("\n  "));
        return ExitCode::FAILURE;
    }
    // What cannot be set up is a panic that says why; after Ctrl-C it says nothing.
    std::panic::set_hook(Box::new(|info| {
        cleanup::stop_if_ending();
        eprintln!("{info}");
    }));
    let rounds = usize::try_from(cli.rounds).unwrap_or(usize::MAX);
    let costs = cost::run(rounds, report::progress(rounds));
    cleanup::stop_if_ending();
    print!("{}", cost::format_table(&costs.rows));
    for reason in &costs.missing {
        println!("left out: {reason}");
    }
    report::end(cli.json.as_deref(), &costs.rows)
}
