//! The rule that splits counters by itself, as the gateway has it: looks at intervals, and what comes of them.

use wg_sched::{AutoSplit, Change, LaneLoad, PeerFlow, Plan, Signs, Strategy as _, StrategyKind, Topology};

use super::super::setup::Setup;
use super::{Event, Machine};

/// What the slow loop has for it.
#[derive(Debug)]
pub(super) struct Auto {
    rule: AutoSplit,
    period: u64,
    kind: StrategyKind,
    /// The plans of both strategies, of the same lanes.
    joined: Plan,
    split: Plan,
    lanes: Vec<LaneLoad>,
    /// By lane: its core, and how long that had worked at the last look.
    cores: Vec<usize>,
    worked: Vec<u64>,
    changes: Vec<Change>,
}

impl Auto {
    pub(super) fn new(setup: &Setup, plan: &Plan, cores: &[usize]) -> Option<Self> {
        let period = setup.auto?;
        let topology: &Topology = setup.believed.as_ref().unwrap_or(&setup.topology);
        let lanes = u32::try_from(plan.lanes.len()).unwrap_or(u32::MAX);
        let limits = wg_sched::Limits { lanes, cores: 0 };
        let helpers = StrategyKind::CounterSplit.build().help(topology, &plan.lanes, &limits);
        let load = |core: &usize| LaneLoad::idle(setup.topology.cores[*core].node);
        Some(Self {
            rule: AutoSplit::new(period),
            period,
            kind: setup.contender.kind,
            joined: plan.clone(),
            split: Plan { lanes: plan.lanes.clone(), helpers },
            lanes: cores.iter().map(load).collect(),
            cores: cores.to_vec(),
            worked: vec![0; cores.len()],
            changes: Vec::new(),
        })
    }

    /// The plan by which counters are split.
    pub(super) const fn plan(&self) -> &Plan {
        &self.split
    }

    /// What the cores had worked is counted anew.
    pub(super) fn forget(&mut self) {
        self.worked.fill(0);
    }
}

impl Machine {
    /// What the rule had done so far.
    #[must_use]
    pub fn auto_changes(&self) -> &[Change] {
        self.auto.as_ref().map_or(&[], |auto| &auto.changes)
    }

    /// Looks at a period, and does what the rule says.
    pub(super) fn look_auto(&mut self, now: u64) {
        let Self { auto, state, .. } = self;
        let Some(auto) = auto else { return };
        state.push(now + auto.period, Event::Auto);
        let mut done = vec![0; auto.lanes.len()];
        for peer in &state.peers {
            done[peer.home] += peer.brought;
        }
        for ((lane, core), worked) in auto.lanes.iter_mut().zip(&auto.cores).zip(&mut auto.worked) {
            // A step is accounted for when it begins.
            let seat = &state.seats[*core];
            let busy = seat.busy.saturating_sub(seat.clock.saturating_sub(now));
            let busy = busy.saturating_sub(core::mem::replace(worked, busy)) * 1000 / auto.period;
            lane.observe(u32::try_from(busy.min(1000)).unwrap_or(1000));
        }
        let flow = |peer: &mut super::Peer| {
            let brought = core::mem::take(&mut peer.brought);
            let share = u64::from(auto.lanes[peer.home].busy) * brought / done[peer.home].max(1);
            PeerFlow {
                home: peer.home,
                received: brought,
                all: brought,
                share: u32::try_from(share).unwrap_or(1000),
            }
        };
        let flows: Vec<_> = state.peers.iter_mut().map(flow).collect();
        let is_level = state.peers.iter().all(|peer| peer.next.is_none());
        if state.split.is_ending() {
            return state.end_split();
        }
        // A lane has its core to itself.
        let signs = Signs { is_level, disorder: state.split.take_disorder(), waited: 0 };
        let Some(change) = auto.rule.look(&auto.lanes, &flows, signs, now) else { return };
        auto.changes.push(change);
        let (kind, plan) = match change {
            Change::Split | Change::Resteer => {
                state.split.begin(auto.rule.receivers(state.split.possible()));
                (StrategyKind::CounterSplit, &auto.split)
            }
            Change::Join(_) => {
                state.split.end();
                (auto.kind, &auto.joined)
            }
        };
        for (strategy, seat) in self.strategies.iter_mut().zip(&mut state.seats) {
            strategy.switch(kind, plan, seat.core.id);
            let helper = plan.helpers.iter().find(|helper| helper.core == seat.core.id);
            seat.helps = helper
                .map_or_else(Vec::new, |helper| helper.lanes.iter().map(|lane| lane.0 as usize).collect());
        }
        for core in 0..state.seats.len() {
            state.wake(core, now);
        }
    }
}
