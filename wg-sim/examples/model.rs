//! Runs the model check as deep as asked: `cargo run --release -p wg-sim --example model -- --depth 8`.

use core::num::NonZero;
use std::process::ExitCode;

use clap::Parser;
use wg_sim::model::{Scenario, Settings, check};

/// Searches every order of events from each scenario.
#[derive(Debug, Parser)]
struct Options {
    /// Steps from the first state.
    #[arg(long, default_value_t = 6)]
    depth: usize,
    /// Only this scenario; may be given several times.
    #[arg(long)]
    scenario: Vec<String>,
    /// Of how many states one is looked at whether the peers recover; 0 for none.
    #[arg(long, default_value_t = 16)]
    recover_every: u64,
    /// Jitter of A and of B, in thousandths of the greatest; may be given several times.
    #[arg(long, num_args = 2, default_values_t = [0, 1000])]
    jitter: Vec<u16>,
    /// Threads.
    #[arg(long, default_value_t = NonZero::<usize>::MIN.saturating_add(1))]
    threads: NonZero<usize>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let settings = Settings {
        depth: options.depth,
        recover_every: NonZero::new(options.recover_every),
        threads: options.threads,
    };
    let wanted = |scenario: &Scenario| {
        options.scenario.is_empty() || options.scenario.iter().any(|name| name == scenario.name())
    };
    let mut states = 0;
    for scenario in Scenario::ALL.into_iter().filter(wanted) {
        for jitter in options.jitter.chunks_exact(2) {
            let scenario = scenario.with_jitter([jitter[0], jitter[1]]);
            match check(&scenario, settings) {
                Ok(report) => {
                    println!("jitter {jitter:?} {report}");
                    states += report.states;
                }
                Err(counterexample) => {
                    println!("jitter {jitter:?} {counterexample}");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    println!("{states} states, and every rule holds in all of them.");
    ExitCode::SUCCESS
}
