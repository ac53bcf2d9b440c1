//! `cargo xtask`: the tasks of the workspace.

mod install;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs every test there is.
    Test {
        /// Only these stages.
        #[arg(long, value_enum)]
        only: Vec<test::Stage>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test { only } => test::run(&only),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The root of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new(".")).to_path_buf()
}
