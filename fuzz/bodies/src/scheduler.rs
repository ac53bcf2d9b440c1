//! Any machine, load and course of events under any strategy, held against the rules of the suite that all strategies pass: order,
//! the account of batches, bounds, rest in the end, and that a core that stalls keeps back nobody but its own streams.

use wg_sched::StrategyKind;
use wg_sched::conformance::{Case, Event, Interleaved, Sizes};

use crate::input::Input;

/// Events of a case, at most.
const EVENTS: usize = 16;

/// Runs the case that the input describes.
///
/// # Panics
///
/// If a rule is broken.
pub fn scheduler(data: &[u8]) {
    let mut input = Input::new(data);
    let mut case = Case::new(kind(&mut input), input.u32().into());
    case.cores = 1 + u32::from(input.below(8));
    case.lanes = 1 + u32::from(input.below(4));
    case.peers = 1 + u32::from(input.below(6));
    case.batches = u32::from(input.byte()) * 2;
    case.rate = 1 + u32::from(input.below(64));
    case.sizes = [Sizes::Small, Sizes::Full, Sizes::Mixed][usize::from(input.below(3))];
    case.tickets = input.below(80).into();
    case.ring = input.below(10).into();
    case.slots = input.below(10).into();
    case.mesh = input.below(10).into();
    let mut at = 0;
    while !input.is_empty() && case.events.len() < EVENTS {
        at += u32::from(input.below(128));
        let event = match input.below(8) {
            0..=2 => Event::Switch(kind(&mut input)),
            3 => Event::Stall { core: input.byte().into(), turns: u32::from(input.byte()) * 3 },
            4 => Event::Kill { core: input.byte().into() },
            5 => Event::Remove { peer: input.below(6).into() },
            6 => Event::Add { peer: input.below(6).into() },
            _ => Event::Stop,
        };
        case.events.push((at, event));
    }
    Interleaved::new(&case).run();
}

fn kind(input: &mut Input<'_>) -> StrategyKind {
    let at = usize::from(input.byte()) % StrategyKind::ALL.len();
    StrategyKind::ALL[at]
}
