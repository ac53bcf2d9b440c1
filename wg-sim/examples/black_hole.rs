//! Homes that all begin on one core, for as many events as asked: `cargo run --release -p wg-sim --example black_hole -- --seeds 8`.

use std::process::ExitCode;

use clap::Parser;
use wg_sched::StrategyKind;
use wg_sim::machine::{Calibration, Contender, Machine, Setup, topology};

/// Has every strategy with movable homes level its cores within a virtual second, and looks for as long as asked whether it
/// ever goes back. Then shows that the kernel's drains do gather.
#[derive(Debug, Parser)]
struct Options {
    /// Events of a run.
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Runs of each strategy, each with a seed of its own.
    #[arg(long, default_value_t = 8)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const SECOND: u64 = 1_000_000_000;
const LOOK: u64 = 50_000_000;

fn main() -> ExitCode {
    let options = Options::parse();
    let mut failed = false;
    for kind in [StrategyKind::Inline, StrategyKind::Adaptive] {
        for seed in options.seed..options.seed + options.seeds {
            let mut setup =
                Setup::new(topology(4, 1), Calibration::Modern.costs(), Contender::shipped(kind), 16);
            (setup.link, setup.converged, setup.seed) = (4_000_000_000_000, true, seed);
            let mut machine = Machine::new(&setup);
            let before = machine.measure(20_000_000).spread();
            machine.run_for(SECOND - 20_000_000);
            let (mut looks, mut worst, mut events) = (0, 0.0_f64, 0);
            while events < options.events {
                let result = machine.measure(LOOK);
                (looks, worst, events) = (looks + 1, worst.max(result.spread()), result.events);
                if result.reordered > 0 {
                    println!("{kind} seed {seed}: {} batches out of order", result.reordered);
                    failed = true;
                    break;
                }
            }
            println!(
                "{kind} seed {seed}: {events} events, spread {before:.1} at first, at most {worst:.3} in {looks} looks"
            );
            failed |= worst >= 1.3;
        }
    }
    for seed in options.seed..options.seed + options.seeds {
        let mut setup = Setup::new(topology(32, 2), Calibration::Paper.costs(), Contender::SOFTIRQ, 8);
        (setup.packet, setup.warmup, setup.duration, setup.seed) = (1368, 300_000_000, 100_000_000, seed);
        setup.surge = 100_000_000;
        let result = Machine::run(&setup);
        let saturated = result.busy.iter().filter(|busy| **busy * 100 >= 97 * result.duration).count();
        println!(
            "negative control, seed {seed}: {:.1} Gbit/s, {saturated} cores saturated, spread {:.1}",
            result.gigabits(),
            result.spread()
        );
        failed |= result.spread() < 1.3;
    }
    if failed {
        println!("A rule is broken.");
        return ExitCode::FAILURE;
    }
    println!("Level, and it stays so; the negative control shows the failure.");
    ExitCode::SUCCESS
}
