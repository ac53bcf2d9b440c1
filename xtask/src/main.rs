//! `cargo xtask demo | test | bench | figures | fuzz | soak`: the tasks of this workspace, each one command.

mod bench;
mod cargo;
mod debian;
mod demo;
mod figures;
mod fuzz;
mod install;
mod report;
mod soak;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the workspace.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Builds the gateway, joins two of them in namespaces, sends traffic through the tunnel and shows what came of it.
    Demo(demo::Options),
    /// Runs every check of the workspace, the namespace tests among them; installs what they need where it can.
    Test(test::Options),
    /// Measures, prints a table, and writes rows for machines.
    Bench(bench::Options),
    /// Runs the papers' experiments on the virtual machine of many cores, and draws them beside the papers' points.
    Figures(figures::Options),
    /// Fuzzes what takes bytes from outside, for a time, and says what it reached.
    Fuzz(fuzz::Options),
    /// Runs the fault matrix of the simulator for hours, on every core; goes on where it was left. Or floods, or decrypts.
    Soak(soak::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Figures(options) => figures::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Soak(options) => soak::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn no_two_options_are_in_each_others_way() {
        super::Cli::command().debug_assert();
    }
}
