//! The search: layer by layer, each state once.

use core::fmt;
use core::num::NonZero;
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::collections::HashSet;
use std::panic::catch_unwind;
use std::thread;
use std::time::Instant;

use crate::model::action::Action;
use crate::model::ledger::{Rule, Violation};
use crate::model::scenario::Scenario;
use crate::model::step::{Adversary, Steps};
use crate::model::world::World;

/// States that are expanded before what they lead to is sorted in.
const BLOCK: usize = 2048;

/// How far to search.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Steps from the first state.
    pub depth: usize,
    /// Of how many states one is looked at whether the peers recover from it; which ones is a matter of their digest, so
    /// always the same. None: no state is.
    pub recover_every: Option<NonZero<u64>>,
    /// Threads to search with; what is found does not depend on it.
    pub threads: NonZero<usize>,
}

impl Settings {
    fn samples(&self, digest: u128) -> bool {
        self.recover_every.is_some_and(|every| digest.is_multiple_of(u128::from(every.get())))
    }
}

/// What a search saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The name of the scenario.
    pub scenario: &'static str,
    /// Steps from the first state.
    pub depth: usize,
    /// States, each different from all others.
    pub states: usize,
    /// Steps from one state to another.
    pub transitions: usize,
    /// States that were first reached in the last step of the search; if there are none, it has seen all there are.
    pub frontier: usize,
    /// The most states of one layer.
    pub widest: usize,
    /// States from which the peers were shown to recover.
    pub recovered: usize,
    /// The longest that it took, in virtual time.
    pub slowest_recovery: Duration,
    /// How long the search took.
    pub elapsed: Duration,
}

impl Report {
    /// Steps that led to a state that was known.
    #[must_use]
    pub const fn merged(&self) -> usize {
        self.transitions - (self.states - 1)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<10} depth {:>2}: {:>8} states, {:>9} transitions, {:>9} merged, widest layer {:>8}, \
             {:>6} recovered, slowest in {:>5.2} s; {:.1} s",
            self.scenario,
            self.depth,
            self.states,
            self.transitions,
            self.merged(),
            self.widest,
            self.recovered,
            self.slowest_recovery.as_secs_f64(),
            self.elapsed.as_secs_f64()
        )
    }
}

/// The shortest way to break a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The name of the scenario.
    pub scenario: &'static str,
    /// What was broken.
    pub violation: Violation,
    /// How, to be given to [`Scenario::replay`].
    pub actions: Vec<Action>,
    /// The same in words.
    pub steps: Vec<String>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.scenario, self.violation)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {:>2}. {step}", number + 1)?;
        }
        write!(f, "  {:?}", self.actions)
    }
}

impl core::error::Error for Counterexample {}

/// Searches from a scenario, breadth first.
///
/// # Errors
///
/// The shortest way to break a rule.
pub fn check(scenario: &Scenario, settings: Settings) -> Result<Report, Counterexample> {
    let start = Instant::now();
    let fail = |violation, actions: Vec<Action>| Counterexample {
        scenario: scenario.name(),
        violation,
        steps: describe(scenario, &actions),
        actions,
    };
    let first = scenario.world().map_err(|violation| fail(violation, Vec::new()))?;
    let mut report = Report {
        scenario: scenario.name(),
        depth: settings.depth,
        states: 1,
        transitions: 0,
        frontier: 1,
        widest: 1,
        recovered: 0,
        slowest_recovery: Duration::ZERO,
        elapsed: Duration::ZERO,
    };
    let mut known = HashSet::from([first.digest()]);
    let mut tree = Tree::default();
    let mut steps: Vec<_> = (0..settings.threads.get()).map(|_| Steps::default()).collect();
    let mut layer = vec![Node { id: Tree::ROOT, world: first }];
    for depth in 1..=settings.depth {
        let mut next = Vec::new();
        let before = report.states;
        while !layer.is_empty() {
            let block = layer.split_off(layer.len().saturating_sub(BLOCK));
            let mut samples = Vec::new();
            for found in expand(&block, &known, &mut steps, settings, depth) {
                report.transitions += found.transitions;
                if let Some((violation, parent, action)) = found.broken {
                    let mut actions = tree.path(parent);
                    actions.push(action);
                    return Err(fail(violation, actions));
                }
                for Successor { digest, parent, action, world } in found.successors {
                    if !known.insert(digest) {
                        continue;
                    }
                    let id = tree.add(parent, action);
                    report.states += 1;
                    let Some(world) = world else { continue };
                    if settings.samples(digest) {
                        samples.push((id, world.clone()));
                    }
                    if depth < settings.depth {
                        next.push(Node { id, world });
                    }
                }
            }
            for (id, recovered) in recover(&samples, &mut steps) {
                match recovered {
                    Ok(took) => report.slowest_recovery = report.slowest_recovery.max(took),
                    Err(violation) => return Err(fail(violation, tree.path(id))),
                }
                report.recovered += 1;
            }
        }
        report.frontier = report.states - before;
        report.widest = report.widest.max(report.frontier);
        layer = next;
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

fn describe(scenario: &Scenario, actions: &[Action]) -> Vec<String> {
    let Ok(mut world) = scenario.world() else { return Vec::new() };
    let (mut words, mut steps) = (Vec::new(), Steps::default());
    for action in actions {
        words.push(world.describe(*action));
        if caught(|| world.act(*action, Adversary::Present, &mut steps)).is_err() {
            break;
        }
    }
    words
}

struct Node {
    id: u32,
    world: World,
}

/// How each state was first reached.
#[derive(Default)]
struct Tree(Vec<(u32, Action)>);

impl Tree {
    const ROOT: u32 = u32::MAX;

    fn add(&mut self, parent: u32, action: Action) -> u32 {
        let id = u32::try_from(self.0.len()).unwrap_or(Self::ROOT);
        self.0.push((parent, action));
        id
    }

    fn path(&self, mut id: u32) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((parent, action)) = self.0.get(id as usize) {
            actions.push(*action);
            id = *parent;
        }
        actions.reverse();
        actions
    }
}

struct Successor {
    digest: u128,
    parent: u32,
    action: Action,
    /// Left out where nobody looks at it any more.
    world: Option<World>,
}

/// What one thread found.
#[derive(Default)]
struct Found {
    successors: Vec<Successor>,
    transitions: usize,
    broken: Option<(Violation, u32, Action)>,
}

/// Goes one step from every state of a block.
fn expand(
    block: &[Node],
    known: &HashSet<u128>,
    steps: &mut [Steps],
    settings: Settings,
    depth: usize,
) -> Vec<Found> {
    let share = block.len().div_ceil(settings.threads.get()).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> = block
            .chunks(share)
            .zip(steps)
            .map(|(nodes, steps)| scope.spawn(move || expand_nodes(nodes, known, steps, settings, depth)))
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

fn expand_nodes(
    nodes: &[Node],
    known: &HashSet<u128>,
    steps: &mut Steps,
    settings: Settings,
    depth: usize,
) -> Found {
    let mut found = Found::default();
    let mut here = HashSet::new();
    for Node { id, world } in nodes {
        for action in world.actions() {
            found.transitions += 1;
            let mut next = world.clone();
            if let Err(violation) = caught(|| next.act(action, Adversary::Present, steps)) {
                found.broken = Some((violation, *id, action));
                return found;
            }
            let digest = next.digest();
            if known.contains(&digest) || !here.insert(digest) {
                continue;
            }
            let world = (depth < settings.depth || settings.samples(digest)).then_some(next);
            found.successors.push(Successor { digest, parent: *id, action, world });
        }
    }
    found
}

/// Looks whether the peers recover, from each of these states.
fn recover(samples: &[(u32, World)], steps: &mut [Steps]) -> Vec<(u32, Result<Duration, Violation>)> {
    let share = samples.len().div_ceil(steps.len()).max(1);
    thread::scope(|scope| {
        let look = |(id, world): &(u32, World), steps: &mut Steps| (*id, caught(|| world.recovers(steps)));
        let threads: Vec<_> = samples
            .chunks(share)
            .zip(steps)
            .map(|(samples, steps)| {
                scope.spawn(move || samples.iter().map(|sample| look(sample, steps)).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    })
}

/// A panic is a rule broken, as any other.
fn caught<T>(step: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation::new(Rule::Panic, said.unwrap_or_else(|| "a panic".to_owned())))
    })
}
