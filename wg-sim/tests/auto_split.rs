//! Counters that are split without being asked, on the many-core machine: [`wg_sched::AutoSplit`] runs here as in the gateway.

use wg_sched::{Change, Reason, StrategyKind};
use wg_sim::machine::{Calibration, Contender, Load, Machine, Setup, StageCost, topology};

/// The adaptive strategy, with a rule that looks so often that it has settled within milliseconds.
fn auto(cores: u32, nodes: u32, tunnels: u32) -> Setup {
    let costs = Calibration::Modern.costs();
    let adaptive = Contender::shipped(StrategyKind::Adaptive);
    let mut setup = Setup::new(topology(cores, nodes), costs, adaptive, tunnels);
    (setup.link, setup.warmup, setup.duration) = (4_000_000_000_000, 12_000_000, 4_000_000);
    setup.auto = Some(250_000);
    setup
}

#[test]
fn few_tunnels_are_split_without_being_asked_and_many_are_not() {
    for (seed, (nodes, cores)) in (1..).zip([(1, 8), (2, 8), (1, 16), (2, 16)]) {
        for packet in [64, 1420] {
            for tunnels in [1, 2, 4, 8, 16] {
                let mut setup = auto(cores, nodes, tunnels);
                (setup.packet, setup.seed) = (packet, seed);
                let before = Machine::run(&Setup { auto: None, ..setup.clone() }).mpps();
                let mut machine = Machine::new(&setup);
                machine.run_for(setup.warmup);
                let result = machine.measure(setup.duration);
                let (ratio, changes) = (result.mpps() / before, machine.auto_changes());
                let at = (nodes, cores, packet, tunnels, changes);
                assert_eq!(result.reordered, 0, "{at:?}");
                if tunnels * 4 <= cores {
                    assert_eq!(changes, [Change::Split], "{at:?}");
                    assert!(ratio > 1.4, "{at:?}: {ratio}");
                } else {
                    assert_eq!(changes, [], "{at:?}");
                    assert!(ratio > 0.99, "{at:?}: {ratio}");
                }
            }
        }
    }
}

#[test]
fn a_tunnel_is_split_and_joined_again_without_disorder() {
    for seed in 1..=3 {
        // More than one home does, and no more than it can deliver.
        let mut setup = auto(8, 1, 1);
        (setup.load, setup.seed) = (Load::Constant { rate: 3_500_000 }, seed);
        let mut machine = Machine::new(&setup);
        machine.run_for(6_000_000);
        assert_eq!(machine.auto_changes(), [Change::Split], "seed {seed}");
        let split = machine.measure(4_000_000);
        assert!(split.dropped == 0 && split.mpps() > 3.4, "seed {seed}: {split:?}");
        // Less than three quarters of what the home received just before the split.
        machine.set_load(Load::Constant { rate: 900_000 });
        let joined = machine.measure(10_000_000);
        assert_eq!(machine.auto_changes(), [Change::Split, Change::Join(Reason::Fits)], "seed {seed}");
        assert_eq!((joined.dropped, joined.reordered), (0, 0), "seed {seed}");
        assert!(joined.mpps() > 0.85, "seed {seed}: {joined:?}");
    }
}

#[test]
fn a_backlog_from_before_a_split_does_not_end_it() {
    // The home opens it alone, for longer than the first trial lasts, and all that others receive waits behind it.
    for seed in 1..=3 {
        let mut setup = auto(8, 1, 1);
        (setup.load, setup.seed) = (Load::Constant { rate: 35_000_000 }, seed);
        let mut machine = Machine::new(&setup);
        let filled = machine.measure(200_000);
        assert!(filled.dropped > 0, "seed {seed}: the ring is full: {filled:?}");
        machine.set_load(Load::Constant { rate: 3_500_000 });
        machine.run_for(9_800_000);
        let split = machine.measure(20_000_000);
        assert_eq!(machine.auto_changes(), [Change::Split], "seed {seed}");
        assert_eq!((split.dropped, split.reordered), (0, 0), "seed {seed}");
        assert!(split.mpps() > 3.4, "seed {seed}: {split:?}");
    }
}

#[test]
fn a_split_that_gains_nothing_under_overload_is_over_soon() {
    for seed in 1..=3 {
        let mut setup = auto(8, 1, 1);
        (setup.load, setup.seed) = (Load::Constant { rate: 3_500_000 }, seed);
        // All receivers together bring less than the home and its helpers get done.
        setup.costs.push = StageCost { batch: 100_000, packet: 0, byte_ps: 0 };
        setup.ring = 512;
        let mut machine = Machine::new(&setup);
        let before = Machine::run(&Setup { auto: None, ..setup.clone() }).mpps();
        machine.run_for(10_000_000);
        let changes = machine.auto_changes();
        assert_eq!(changes, [Change::Split, Change::Join(Reason::NoGain)], "seed {seed}");
        // What was received for the home has come there, and it is as if nothing had been.
        machine.run_for(6_000_000);
        let after = machine.measure(2_500_000);
        assert_eq!(machine.auto_changes().len(), 2, "seed {seed}: it rests");
        assert!(after.mpps() > 0.95 * before, "seed {seed}: {} {before}", after.mpps());
        assert_eq!(after.reordered, 0, "seed {seed}");
    }
}

#[test]
fn it_is_far_ahead_of_the_others_with_few_tunnels_and_not_behind_with_many() {
    // Where it is least, and where it once was, of the grid of `docs/figures.md`; `counter-split` is compared there, too.
    for (seed, (nodes, cores, tunnels, packet)) in (1..).zip([
        (2, 8, 4, 1420),
        (1, 8, 4, 64),
        (2, 8, 1, 1420),
        (2, 32, 2, 1420),
        (2, 16, 8, 1420),
        (1, 8, 32, 64),
        (2, 8, 32, 64),
        (2, 8, 8, 1420),
    ]) {
        let mut setup = auto(cores, nodes, tunnels);
        (setup.packet, setup.seed) = (packet, seed);
        let rate = Machine::run(&setup).mpps();
        let apart = [StrategyKind::Adaptive, StrategyKind::CounterSplit];
        let others = StrategyKind::ALL.iter().filter(|kind| !apart.contains(kind)).map(|kind| {
            let contender = Contender::shipped(*kind);
            Machine::run(&Setup { contender, auto: None, warmup: 3_000_000, ..setup.clone() }).mpps()
        });
        let ratio = rate / others.fold(0.0, f64::max);
        let least = if tunnels <= 4 { 1.2 } else { 0.95 };
        assert!(ratio > least, "{nodes} nodes {cores} cores {packet} B {tunnels} tunnels: {ratio}");
    }
}
