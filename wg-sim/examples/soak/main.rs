//! One unit of the fault matrix, at the scale of hours: `soak ROW SEED`. What `cargo xtask soak` runs on every core.
//!
//! Prints a counter a line. If something was broken it says what, prints a script that shows it, as small as it could be
//! made, and fails.

use std::process::ExitCode;

use wg_sim::matrix::{Failure, Row, Scale};
use wg_sim::{Script, run, shrink};
use wg_tally::allocator;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let row = arguments.next().and_then(|name| Row::ALL.into_iter().find(|row| row.to_string() == name));
    let seed = arguments.next().and_then(|seed| seed.parse().ok());
    let (Some(row), Some(seed)) = (row, seed) else {
        eprintln!("usage: soak ROW SEED");
        return ExitCode::from(2);
    };
    match row.run(seed, Scale::Soak, Some(allocator::calls)) {
        Ok(counts) => {
            counts.iter().for_each(|(name, count)| println!("{name} {count}"));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("violation {failure}");
            if let Some(script) = smallest(&failure) {
                println!("script\n# {failure}\n{script}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The smallest script that breaks the same invariant. What a row asks for beyond them is not in its script.
fn smallest(failure: &Failure) -> Option<Script> {
    let script = failure.script.as_ref()?;
    let fails = |script: &Script| {
        run(script).is_err_and(|violation| violation.invariant == failure.violation.invariant)
    };
    Some(if fails(script) { shrink(script, fails) } else { script.clone() })
}
