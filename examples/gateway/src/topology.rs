//! Which core does what: the plan of a strategy for a machine, and the table that `wg-gateway topology` prints of it.

use core::fmt::Write;
use std::collections::HashSet;

use wg_sched::{Core, CoreId, Helper, LaneId, Limits, Plan, Strategy, StrategyKind, Topology};

#[cfg(test)]
mod tests;

const HEADS: [&str; 6] = ["core", "node", "cache", "siblings", "does", "why"];

/// Plans so many lanes, and who helps them of so many threads.
#[must_use]
pub fn plan(strategy: StrategyKind, machine: &Topology, lanes: usize, threads: usize) -> Plan {
    let used = processors(strategy, machine, lanes, threads);
    let cores = machine.cores.iter().filter(|core| used.contains(&core.id)).copied().collect();
    let planned = strategy.build().plan(machine, &limits(lanes)).lanes;
    let helpers = strategy.build().help(&Topology { cores }, &planned, &limits(lanes));
    Plan { lanes: planned, helpers }
}

/// Returns the processor of each thread, where there are more threads than those in turn; the first of them have lanes.
#[must_use]
pub fn processors(strategy: StrategyKind, machine: &Topology, lanes: usize, threads: usize) -> Vec<CoreId> {
    let plan = strategy.build().plan(machine, &limits(lanes));
    let planned = plan.lanes.iter().map(|lane| lane.core).take(lanes);
    let mut order: Vec<_> = planned.chain(plan.helpers.iter().map(|helper| helper.core)).collect();
    order.extend(machine.cores.iter().map(|core| core.id));
    let mut seen = HashSet::new();
    order.retain(|core| seen.insert(*core));
    order.into_iter().cycle().take(threads).collect()
}

fn limits(lanes: usize) -> Limits {
    Limits { lanes: u32::try_from(lanes).unwrap_or(u32::MAX), cores: 0 }
}

/// Returns the core of each lane; where there are more lanes than were planned, they go round.
#[must_use]
pub fn cores(plan: &Plan, lanes: usize) -> Vec<CoreId> {
    plan.lanes.iter().map(|lane| lane.core).cycle().take(lanes).collect()
}

/// Shows a plan: a line for each core, with what it does and how it stands to those it does it with.
///
/// Caches and siblings are named by the first of the cores that the machine has there, which need not be one for this
/// process.
#[must_use]
pub fn table(strategy: StrategyKind, topology: &Topology, plan: &Plan, lanes: usize) -> String {
    let sight = Sight { topology, plan, lanes };
    let rows: Vec<_> = topology.cores.iter().map(|core| sight.row(core)).collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        longest.max(HEADS[column].len())
    };
    let widths: [usize; 6] = core::array::from_fn(width);
    let mut table = sight.headline(strategy);
    table.push('\n');
    for row in core::iter::once(&HEADS.map(str::to_owned)).chain(&rows) {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Numbers to the right, words to the left.
            let _ =
                if column < 3 { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        let _ = writeln!(table, "{}", line.trim_end());
    }
    table
}

/// What a table is made of.
struct Sight<'a> {
    topology: &'a Topology,
    plan: &'a Plan,
    lanes: usize,
}

impl Sight<'_> {
    /// A line on the machine, and one on the plan.
    fn headline(&self, strategy: StrategyKind) -> String {
        let cores = &self.topology.cores;
        let distinct = |of: fn(&Core) -> u32| {
            let mut numbers: Vec<_> = cores.iter().map(of).collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers.len()
        };
        format!(
            "{}: {}, {}, {}\n{strategy}: {}, {}\n",
            count(cores.len(), "core"),
            count(distinct(|core| core.physical), "physical core"),
            count(distinct(|core| core.cache), "last-level cache"),
            count(distinct(|core| core.node.0), "node"),
            count(self.lanes, "lane"),
            count(self.plan.helpers.len(), "helper"),
        )
    }

    fn row(&self, core: &Core) -> [String; 6] {
        let lanes = self.lanes_of(core.id);
        let helper = self.plan.helpers.iter().find(|helper| helper.core == core.id);
        let siblings: Vec<_> = self.siblings(core).map(|sibling| sibling.id.0).collect();
        let mut does = Vec::new();
        if !lanes.is_empty() {
            does.push(format!("lane {}", list(&lanes)));
        }
        if let Some(helper) = helper {
            does.push(format!("helps {}", list(&numbers(&helper.lanes))));
        }
        [
            core.id.0.to_string(),
            core.node.0.to_string(),
            core.cache.to_string(),
            if siblings.is_empty() { "-".to_owned() } else { list(&siblings) },
            if does.is_empty() { "-".to_owned() } else { does.join(", ") },
            self.why(core, &lanes, helper),
        ]
    }

    /// How a core stands to those it works with, or stays out of the way of.
    fn why(&self, core: &Core, lanes: &[u32], helper: Option<&Helper>) -> String {
        let mut reasons = Vec::new();
        let beside: Vec<_> = self.siblings(core).flat_map(|sibling| self.lanes_of(sibling.id)).collect();
        if !lanes.is_empty() && !beside.is_empty() {
            reasons.push(format!("shares a physical core with lane {}", list(&beside)));
        } else if !lanes.is_empty() {
            reasons.push("home of its peers".to_owned());
        }
        if let Some(helper) = helper {
            reasons.extend(self.relations(core, helper));
        }
        if reasons.is_empty() {
            reasons.push(match &beside[..] {
                [] => "not needed".to_owned(),
                beside => format!("left alone: a sibling has lane {}", list(beside)),
            });
        }
        reasons.join("; ")
    }

    /// How a helper stands to its lanes, in the order of its preference.
    fn relations(&self, core: &Core, helper: &Helper) -> Vec<String> {
        let relation = |lane: &LaneId| {
            let home = self.plan.lanes.iter().find(|planned| planned.id == *lane).map(|planned| planned.core);
            let home = self.topology.cores.iter().find(|core| Some(core.id) == home);
            home.map_or("unknown core", |home| relation(core, home))
        };
        let runs = helper.lanes.chunk_by(|one, next| relation(one) == relation(next));
        runs.map(|run| format!("{} of {}", list(&numbers(run)), run.first().map_or("", relation))).collect()
    }

    /// The lanes that run on a core.
    fn lanes_of(&self, core: CoreId) -> Vec<u32> {
        (0..).zip(cores(self.plan, self.lanes)).filter(|(_, at)| *at == core).map(|(lane, _)| lane).collect()
    }

    fn siblings<'a>(&'a self, core: &Core) -> impl Iterator<Item = &'a Core> {
        self.topology.cores.iter().filter(move |other| other.is_sibling(core) && other.id != core.id)
    }
}

/// How near a core is to the home of a lane that it helps.
fn relation(helper: &Core, home: &Core) -> &'static str {
    if helper.id == home.id {
        "this core"
    } else if helper.is_sibling(home) {
        "a sibling"
    } else if helper.node != home.node {
        "another node"
    } else if helper.cache == home.cache {
        "the same cache"
    } else {
        "the same node"
    }
}

fn numbers(lanes: &[LaneId]) -> Vec<u32> {
    lanes.iter().map(|lane| lane.0).collect()
}

/// Numbers in the order they have, runs of them from first to last.
fn list(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next)).filter_map(|run| {
        let (first, last) = (run.first()?, run.last()?);
        Some(if first == last { first.to_string() } else { format!("{first}-{last}") })
    });
    runs.collect::<Vec<_>>().join(",")
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
