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

/// The same with periods that are long beside what waits at a home when it is split, as they are in the gateway: three trials and one
/// more are over when the counting begins, and if they failed it rests.
fn settled(cores: u32, nodes: u32, tunnels: u32) -> Setup {
    let (warmup, duration) = (60_000_000, 10_000_000);
    Setup { auto: Some(1_000_000), warmup, duration, ..auto(cores, nodes, tunnels) }
}

#[test]
fn few_tunnels_are_split_without_being_asked_and_many_are_not() {
    for (seed, (nodes, cores)) in (1..).zip([(1, 8), (2, 8), (1, 16), (2, 16)]) {
        for packet in [64, 1420] {
            for tunnels in [1, 2, 4, 8, 16] {
                let mut setup = settled(cores, nodes, tunnels);
                (setup.packet, setup.seed) = (packet, seed);
                let before = Machine::run(&Setup { auto: None, ..setup.clone() }).mpps();
                let mut machine = Machine::new(&setup);
                machine.run_for(setup.warmup);
                let result = machine.measure(setup.duration);
                let (ratio, changes) = (result.mpps() / before, machine.auto_changes());
                let at = (nodes, cores, packet, tunnels, changes);
                if tunnels * 4 <= cores {
                    assert_eq!(changes[0], Change::Split, "{at:?}");
                    assert!(changes[1..].iter().all(|change| *change == Change::Resteer), "{at:?}");
                    assert!(ratio > 1.4, "{at:?}: {ratio}");
                    assert_eq!(result.reordered, 0, "{at:?}");
                } else {
                    // Some of those with half as many tunnels as cores are split and gain by it.
                    assert!(ratio > 0.99, "{at:?}: {ratio}");
                    assert!(tunnels * 2 <= cores || changes.is_empty(), "{at:?}");
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
    // Where it is least, and where it once was, of the grid of `docs/figures.md`.
    for (seed, (nodes, cores, tunnels, packet)) in (1..).zip([
        (2, 8, 4, 1420),
        (1, 8, 4, 64),
        (2, 8, 1, 1420),
        (2, 32, 2, 1420),
        (2, 16, 8, 1420),
        (1, 8, 32, 64),
        (2, 8, 32, 64),
        (2, 8, 8, 1420),
        (2, 8, 4, 64),
        (2, 16, 6, 64),
        (1, 16, 6, 64),
        (1, 32, 10, 64),
        (2, 32, 12, 64),
        (2, 32, 10, 1420),
    ]) {
        let mut setup = settled(cores, nodes, tunnels);
        (setup.packet, setup.seed) = (packet, seed);
        let rate = Machine::run(&setup).mpps();
        let others = StrategyKind::ALL.iter().filter(|kind| **kind != StrategyKind::Adaptive);
        let others = others.map(|kind| {
            let contender = Contender::shipped(*kind);
            let setup = Setup { contender, auto: None, warmup: 3_000_000, ..setup.clone() };
            (*kind, rate / Machine::run(&setup).mpps())
        });
        for (kind, ratio) in others {
            let least = if tunnels <= 4 && !kind.splits_counters() { 1.2 } else { 0.95 };
            let at = (nodes, cores, tunnels, packet);
            assert!(ratio > least, "{kind}, nodes, cores, tunnels, bytes {at:?}: {ratio}");
        }
    }
}

#[test]
fn on_the_first_papers_machine_it_is_ahead_of_what_splits_nothing_and_of_what_splits_everything() {
    let paper = |contender, tunnels| {
        let mut setup = Setup::new(topology(32, 2), Calibration::Paper.costs(), contender, tunnels);
        // All trials are over after 45 periods.
        (setup.packet, setup.warmup, setup.duration) = (1368, 600_000_000, 20_000_000);
        setup
    };
    let rate = |setup: &Setup| Machine::run(setup).gigabits();
    let vanilla = rate(&paper(Contender::THREADED, 1));
    for (tunnels, gain) in [(1, 2.0), (2, 2.0), (4, 2.0), (8, 1.4), (12, 0.98), (16, 0.98), (24, 0.98)] {
        let unsplit = paper(Contender::shipped(StrategyKind::Adaptive), tunnels);
        // The home takes 8 ms for what may wait there when a split begins.
        let auto = rate(&Setup { auto: Some(10_000_000), ..unsplit.clone() });
        let unsplit = rate(&unsplit);
        assert!(auto > gain * unsplit, "{tunnels} tunnels: {auto} {unsplit}");
        let split = rate(&paper(Contender::shipped(StrategyKind::CounterSplit), tunnels));
        assert!(auto > 0.98 * split, "{tunnels} tunnels: {auto} {split}");
        // The paper's own mends have 1.45.
        assert!(tunnels > 1 || auto > 2.0 * vanilla, "{auto} {vanilla}");
    }
}
