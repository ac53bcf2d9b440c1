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
        // It is the same for a strategy that took over.
        let events = vec![(0, Event::Switch(kind))];
        let case = Case { lanes: 1, rate, mesh, batches: 1000, events, ..Case::new(StrategyKind::Inline, 3) };
        let machine = Interleaved::new(&case);
        machine.run();
        (machine.sent(), machine.tickets(), machine.helped())
    };
    for kind in StrategyKind::ALL {
        let (sent, tickets, helped) = run(*kind, 40, 1);
        match kind {
            StrategyKind::Inline => assert_eq!((tickets, helped), (0, 0)),
            StrategyKind::EmulatedInline => assert_eq!((tickets, helped), (sent, 0)),
            StrategyKind::Adaptive => {
                assert!(helped > sent / 8 && tickets < sent, "{sent} {tickets} {helped}")
            }
            _ => assert!(tickets == sent && helped > sent / 4, "{kind}: {sent} {tickets} {helped}"),
        }
        if *kind == StrategyKind::Adaptive {
            let (_, tickets, helped) = run(*kind, 1, 0);
            assert_eq!((tickets, helped), (0, 0), "a small load goes the way of inline");
        }
    }
}
