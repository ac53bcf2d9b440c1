//! The suite that every strategy passes, on the interleaved machine; and that nothing allocates once all is set up.

use wg_sched::StrategyKind;
use wg_sched::conformance::{Case, Event, Interleaved, check};

#[test]
fn every_strategy_passes_the_suite() {
    check(|case| Interleaved::new(case).run());
}

#[test]
fn order_and_account_hold_for_many_interleavings() {
    for kind in StrategyKind::ALL {
        for seed in 100..130 {
            let mut case = Case::new(*kind, seed);
            (case.rate, case.mesh) = (4 + (seed % 5) as u32 * 12, 2 + (seed % 7) as u32);
            Interleaved::new(&case).run();
        }
    }
}

#[test]
fn no_strategy_allocates_after_set_up() {
    for kind in StrategyKind::ALL {
        let machine = Interleaved::new(&Case { batches: 5000, rate: 40, ..Case::new(*kind, 7) });
        let before = wg_tally::allocator::calls();
        machine.run();
        assert_eq!(wg_tally::allocator::calls() - before, 0, "{kind}");
        assert!(machine.sent() > 500, "{kind}");
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let run = |seed| {
        let machine = Interleaved::new(&Case::new(StrategyKind::Adaptive, seed));
        machine.run();
        format!("{machine:?}")
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn work_is_done_where_the_strategy_says() {
    let run = |kind, rate, mesh| {
        let mut all = (0, 0, 0);
        for seed in 0..6 {
            // It is the same for a strategy that took over.
            let events = vec![(0, Event::Switch(kind))];
            let case =
                Case { lanes: 1, rate, mesh, batches: 1000, events, ..Case::new(StrategyKind::Inline, seed) };
            let machine = Interleaved::new(&case);
            machine.run();
            all = (all.0 + machine.sent(), all.1 + machine.tickets(), all.2 + machine.helped());
        }
        all
    };
    for kind in StrategyKind::ALL {
        let (sent, tickets, helped) = run(*kind, 40, 1);
        match kind {
            StrategyKind::Inline => assert_eq!((tickets, helped), (0, 0)),
            StrategyKind::EmulatedInline => assert_eq!((tickets, helped), (sent, 0)),
            // With one lane there is nothing to split.
            StrategyKind::CounterSplit => assert!(helped > 0 && tickets < sent, "{sent} {tickets} {helped}"),
            StrategyKind::Adaptive => {
                assert!(helped > sent / 32 && tickets < sent, "{sent} {tickets} {helped}")
            }
            _ => assert!(tickets == sent && helped > sent / 4, "{kind}: {sent} {tickets} {helped}"),
        }
        if matches!(kind, StrategyKind::Adaptive | StrategyKind::CounterSplit) {
            let (_, tickets, helped) = run(*kind, 1, 0);
            assert_eq!((tickets, helped), (0, 0), "a small load goes the way of inline");
        }
    }
}

#[test]
fn a_split_tunnel_comes_in_over_other_lanes_and_leaves_in_order() {
    let mut all = (0, 0, 0);
    for seed in 0..20 {
        let case =
            Case { cores: 6, lanes: 5, peers: 1, rate: 30, ..Case::new(StrategyKind::CounterSplit, seed) };
        let machine = Interleaved::new(&case);
        machine.run();
        all = (all.0 + machine.sent(), all.1 + machine.merged(), all.2 + machine.late());
    }
    let (sent, merged, late) = all;
    assert!(merged > sent / 4, "{merged} of {sent} batches of both directions");
    assert_eq!(late, 0, "nobody stalls");
}

#[test]
fn a_receiver_that_stalls_is_waited_for_and_then_passed_over() {
    let mut late = 0;
    for seed in 0..20 {
        for core in 4..6 {
            let events = vec![(100, Event::Stall { core, turns: 1500 })];
            let case = Case {
                cores: 6,
                lanes: 6,
                peers: 2,
                rate: 3,
                events,
                ..Case::new(StrategyKind::CounterSplit, seed)
            };
            let machine = Interleaved::new(&case);
            machine.run();
            late += machine.late();
        }
    }
    assert!(late > 0, "what a stalled core has comes late");
}

#[test]
fn counters_are_split_and_joined_again_under_load() {
    let mut merged = 0;
    for other in StrategyKind::ALL {
        for seed in 0..12 {
            for (from, to) in [(*other, StrategyKind::CounterSplit), (StrategyKind::CounterSplit, *other)] {
                let mut case = Case { cores: 6, lanes: 4, peers: 3, batches: 500, ..Case::new(from, seed) };
                (case.rate, case.mesh) = (6 + (seed % 4) as u32 * 14, 1 + (seed % 5) as u32);
                case.events =
                    vec![(120, Event::Switch(to)), (240, Event::Switch(from)), (360, Event::Switch(to))];
                let machine = Interleaved::new(&case);
                machine.run();
                merged += machine.merged();
            }
        }
    }
    assert!(merged > 10_000, "{merged}");
}

#[test]
fn a_home_does_not_sleep_over_what_it_could_merge() {
    // Full batches that a gap held back: more than one drain sends.
    let events = [
        (114, Event::Stall { core: 1, turns: 13 }),
        (197, Event::Switch(StrategyKind::Adaptive)),
        (211, Event::Stall { core: 2, turns: 67 }),
        (319, Event::Switch(StrategyKind::CounterSplit)),
        (427, Event::Switch(StrategyKind::EmulatedInline)),
        (463, Event::Switch(StrategyKind::CounterSplit)),
    ];
    for seed in (0..40).chain([806_074_913]) {
        let mut case = Case::new(StrategyKind::CounterSplit, seed);
        (case.cores, case.lanes, case.peers, case.batches, case.rate) = (7, 5, 3, 274, 26);
        (case.tickets, case.ring, case.slots, case.mesh) = (11, 9, 8, 3);
        case.events = events.to_vec();
        Interleaved::new(&case).run();
    }
}
