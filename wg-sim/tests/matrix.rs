//! The fault matrix at the scale of every change: conformance 5.3, rows S1 to S9 and A1.

use wg_sim::matrix::{Row, Scale};
use wg_tally::allocator;

/// Runs units of a row, and asks for as much as makes it worth the name.
fn units(row: Row, seeds: core::ops::Range<u64>, least: u64) {
    let mut total = wg_sim::Counts::default();
    for seed in seeds {
        match row.run(seed, Scale::Ci, Some(allocator::calls)) {
            Ok(counts) => total.add(&counts),
            Err(failure) => {
                let script = failure.script.as_ref().map(ToString::to_string).unwrap_or_default();
                panic!("{row}, seed {seed}: {failure}\n{script}");
            }
        }
    }
    let (_, names) = row.volume();
    let volume: u64 = total.iter().filter(|(name, _)| names.contains(name)).map(|(_, count)| count).sum();
    println!("{row}: {total:?}");
    assert!(volume >= least, "{row}: {volume} of {names:?}");
    assert_eq!(total.unexplained, 0);
}

#[test]
fn s1_without_faults_every_packet_arrives() {
    units(Row::S1, 0..4, 19_000);
}

#[test]
fn s2_loss_duplication_reordering_and_delay_are_accounted_for() {
    units(Row::S2, 0..16, 38_000);
}

#[test]
fn s3_nothing_corrupt_is_accepted_or_changes_anything() {
    units(Row::S3, 0..4, 13_000);
}

#[test]
fn s4_no_replay_is_delivered_or_moves_an_endpoint() {
    units(Row::S4, 0..4, 3_000);
}

#[test]
fn s5_a_day_of_sparse_traffic_recovers_in_time() {
    units(Row::S5, 0..4, 500);
}

#[test]
fn s6_clocks_that_are_right_again_hold_nobody_up() {
    units(Row::S6, 0..4, 40);
}

#[test]
fn s7_both_at_once_come_together() {
    units(Row::S7, 0..4, 240);
}

#[test]
fn s8_anything_at_any_time() {
    units(Row::S8, 0..4, 100_000);
}

#[test]
fn s9_counters_end_where_they_must() {
    units(Row::S9, 0..4, 80);
}

#[test]
fn a1_floods_cost_what_they_may() {
    units(Row::A1, 0..2, 400_000);
}
