//! S8: anything at any time: random scripts of everything there is. No invariant is broken, and traffic flows in the end.

use super::{Failure, Scale};
use crate::report::Counts;
use crate::run::run as run_script;
use crate::script::{Profile, Script};

pub(super) fn run(seed: u64, scale: Scale) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    for number in 0..scale.of(40, 400) {
        let seed = seed * 1000 + number;
        let profile = match seed % 5 {
            0 => Profile::Network,
            1 => Profile::Hostile,
            _ => Profile::Everything,
        };
        let script = Script::random(seed, profile, scale.of(150, 400));
        match run_script(&script) {
            Ok(report) => counts.add(&report.counts),
            Err(violation) => return Err(Failure { violation, script: Some(script) }),
        }
        counts.trials += 1;
    }
    Ok(counts)
}
