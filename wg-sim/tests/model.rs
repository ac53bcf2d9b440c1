//! The bounded model check at the scale of CI: every order of events from each scenario, to the depth that is said here.
//!
//! `cargo run --release -p wg-sim --example model -- --depth N` goes deeper. That the check finds what it looks for is shown by
//! hosts that make a mistake each.

use core::num::NonZero;

use wg_sim::model::{Action, Counterexample, Mistake, Report, Rule, Scenario, Settings, Side, check};

const fn settings(depth: usize) -> Settings {
    Settings { depth, recover_every: NonZero::new(64), threads: NonZero::<usize>::MIN.saturating_add(1) }
}

/// Searches from a scenario with the jitter that is none for A and the greatest for B, and the other way round.
fn holds(name: &str, depth: usize) -> [Report; 2] {
    let scenario = Scenario::named(name).unwrap();
    [[0, 1000], [1000, 0]].map(|jitter| match check(&scenario.with_jitter(jitter), settings(depth)) {
        Ok(report) => {
            println!("{report}");
            report
        }
        Err(counterexample) => panic!("{counterexample}"),
    })
}

fn states(reports: &[Report]) -> usize {
    reports.iter().map(|report| report.states).sum()
}

#[test]
fn rules_hold_from_the_first_packet() {
    // I1-I8, I10, I11; C7, C37-C46, C53.
    let reports = [holds("idle", 6), holds("answered", 5)].concat();
    assert!(states(&reports) > 10_000, "{}", states(&reports));
}

#[test]
fn rules_hold_when_both_sides_initiate() {
    // C36, C39-C41, C45, C52; defect 54.
    let reports = holds("crossed", 5);
    assert!(states(&reports) > 10_000, "{}", states(&reports));
}

#[test]
fn rules_hold_in_a_session_and_through_its_end() {
    // C50-C60, C76, C77, C117, C121-C128.
    let reports =
        [holds("session", 5), holds("rekey", 6), holds("expiry", 6), holds("keepalive", 5)].concat();
    assert!(states(&reports) > 20_000, "{}", states(&reports));
}

#[test]
fn rules_hold_when_hosts_start_anew() {
    // C35, C61; S4, S5.
    let reports = [holds("restarts", 5), holds("snapshot", 5)].concat();
    assert!(states(&reports) > 10_000, "{}", states(&reports));
}

#[test]
fn rules_hold_at_the_limits() {
    // C57, C58, C118; S9.
    let reports = [holds("counters", 5), holds("despair", 6)].concat();
    assert!(states(&reports) > 10_000, "{}", states(&reports));
}

#[test]
fn what_is_found_does_not_depend_on_the_threads() {
    let scenario = Scenario::named("crossed").unwrap();
    let search = |threads| {
        let report =
            check(&scenario, Settings { threads: NonZero::new(threads).unwrap(), ..settings(4) }).unwrap();
        Report { elapsed: core::time::Duration::ZERO, ..report }
    };
    assert_eq!(search(1), search(3));
}

/// What a search finds where both hosts make the same mistake. Going through it again finds the same, and nothing in
/// hosts that do not make it.
fn found(scenario: Scenario, mistake: Mistake, settings: Settings) -> Counterexample {
    let faulty = scenario.with_mistake(Side::A, mistake).with_mistake(Side::B, mistake);
    let counterexample = check(&faulty, settings).expect_err("the mistake is not seen");
    println!("{mistake:?}: {counterexample}");
    assert_eq!(faulty.replay(&counterexample.actions), Err(counterexample.violation.clone()));
    assert_eq!(scenario.replay(&counterexample.actions), Ok(()));
    counterexample
}

const fn without_recovery(depth: usize) -> Settings {
    Settings { recover_every: None, ..settings(depth) }
}

#[test]
fn snapshot_restored_in_silence_uses_a_nonce_again() {
    // C61
    let scenario = Scenario::named("snapshot").unwrap();
    let found = found(scenario, Mistake::RestoredInSilence, without_recovery(4));
    assert_eq!(found.violation.rule, Rule::Nonce);
    assert_eq!(found.actions, [Action::Send(Side::A), Action::Restore(Side::A), Action::Send(Side::A)]);
}

#[test]
fn clock_that_stops_in_sleep_sends_with_old_keys() {
    // C56, C62
    let scenario = Scenario::named("session").unwrap();
    let found = found(scenario, Mistake::ClockStopsInSleep, without_recovery(5));
    assert_eq!(found.violation.rule, Rule::Expiry);
    let slept = [Action::Sleep, Action::Sleep, Action::Sleep];
    assert_eq!(found.actions, [slept.as_slice(), &[Action::Send(Side::A)]].concat());
}

#[test]
fn wish_that_is_forgotten_is_a_silent_stall() {
    // C39: B answers A, and thinks that this is enough; A starts anew, and the packet of B stays where it is.
    let scenario = Scenario::named("idle").unwrap().with_restarts(1);
    let every = Settings { recover_every: Some(NonZero::<u64>::MIN), ..settings(4) };
    let found = found(scenario, Mistake::ForgetsItsWish, every);
    assert_eq!(found.violation.rule, Rule::Recovery);
    assert_eq!(found.actions.len(), 4, "{found}");
}

#[test]
fn pause_that_is_forgotten_is_a_burst() {
    // C45, C120
    let scenario = Scenario::named("idle").unwrap();
    let found = found(scenario, Mistake::ForgetsItsPause, without_recovery(3));
    assert_eq!(found.violation.rule, Rule::Rate);
    assert_eq!(found.actions, [Action::Send(Side::A), Action::Send(Side::A)]);
}

#[test]
fn window_that_is_not_written_is_a_replay() {
    // C76, C77
    let scenario = Scenario::named("session").unwrap();
    let found = found(scenario, Mistake::ForgetsWhatCame, without_recovery(3));
    assert_eq!(found.violation.rule, Rule::Replay);
    assert_eq!(found.actions, [Action::Send(Side::A), Action::Deliver(0)]);
}

#[test]
fn answer_to_a_stranger_is_no_silence() {
    // C7
    let scenario = Scenario::named("session").unwrap();
    let found = found(scenario, Mistake::AnswersStrangers, without_recovery(3));
    assert_eq!(found.violation.rule, Rule::Silence);
    assert_eq!(found.actions, [Action::Send(Side::A), Action::Deliver(0)]);
}

#[test]
fn response_that_is_lost_is_asked_for_again() {
    // C118: the packet of A waits for the timer, and comes through with either jitter.
    let lost = [Action::Send(Side::A), Action::Deliver(0), Action::Drop(0), Action::Advance];
    for jitter in [[0, 1000], [1000, 0], [1000, 1000], [0, 0]] {
        assert_eq!(Scenario::named("idle").unwrap().with_jitter(jitter).replay(&lost), Ok(()), "{jitter:?}");
    }
}
