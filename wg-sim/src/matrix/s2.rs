//! S2: loss, duplication, reordering, delay, each alone and all mixed. Reordering within the window loses nothing.

use super::{Failure, Scale, must, nodes, trial};
use crate::report::Counts;
use crate::script::{Fault, Op};

/// What the wire does in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Loss(u16),
    Duplicates,
    Reordering,
    Delay,
    Mixed,
}

pub(super) fn run(seed: u64, scale: Scale) -> Result<Counts, Failure> {
    let weather = match seed % 8 {
        0 => Weather::Loss(10),
        1 => Weather::Loss(50),
        2 => Weather::Loss(200),
        3 => Weather::Loss(500),
        4 => Weather::Duplicates,
        5 => Weather::Reordering,
        6 => Weather::Delay,
        _ => Weather::Mixed,
    };
    let report = trial(seed, nodes(seed / 8), |trial| {
        // A session first: what comes before one waits in a queue that is soon full.
        for (from, to) in trial.links() {
            trial.apply(Op::Reach { from, to, millis: 11_000 })?;
        }
        for (from, to) in trial.links() {
            let depth = trial.draw.one_of(&[8, 500, 8128]);
            let mixed: &[(Fault, u16)] = &[
                (Fault::Loss, 50),
                (Fault::Burst, 5),
                (Fault::Duplicate, 100),
                (Fault::Reorder, 400),
                (Fault::Jitter, 800),
            ];
            let faults = match weather {
                Weather::Loss(loss) => &[(Fault::Loss, loss)],
                Weather::Duplicates => &[(Fault::Duplicate, 100)],
                Weather::Reordering => &[(Fault::Reorder, depth)],
                Weather::Delay => &[(Fault::Jitter, 30_000)][..],
                Weather::Mixed => mixed,
            };
            for (fault, amount) in faults {
                trial.apply(Op::Link { from, to, fault: *fault, amount: *amount })?;
            }
        }
        // Fast where packets wait for others to overtake them, slow where they stay on the way for long.
        let micros = match weather {
            Weather::Reordering => 100,
            Weather::Delay => 20_000,
            _ => 3000,
        };
        // More than the window is deep.
        let streams = if weather == Weather::Reordering { scale.of(800, 2500) } else { scale.of(60, 2500) };
        for _ in 0..streams {
            let (from, to) = trial.two();
            trial.apply(Op::Stream { from, to, count: 40, micros })?;
        }
        Ok(())
    })?;
    let counts = report.counts;
    let faults = counts.faults_loss + counts.faults_duplicate + counts.faults_reorder;
    must(faults > 0 || weather == Weather::Delay, seed, || format!("{weather:?} did nothing: {report}"))?;
    if matches!(weather, Weather::Reordering | Weather::Duplicates) {
        let arrived = counts.delivered + counts.refused_at_source;
        must(arrived == counts.packets, seed, || format!("{weather:?} lost packets: {report}"))?;
    }
    Ok(counts)
}
