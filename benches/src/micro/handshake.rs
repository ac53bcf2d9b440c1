//! The messages of a handshake, one by one and together.

use super::{Case, Plan, interleave, timed};
use crate::load::Pair;
use crate::report::Row;

const SUBJECT: &str = "wg-proto";

pub(super) fn run(plan: Plan, progress: impl FnMut(usize)) -> Vec<Row> {
    let mut pair = Pair::new();
    let create_initiation = Case::new(SUBJECT, "create initiation", move || {
        pair.wait();
        (timed(|| pair.create_initiation()).0, 1)
    });
    let mut pair = Pair::new();
    let consume_initiation = Case::new(SUBJECT, "consume initiation, create response", move || {
        pair.wait();
        let initiation = pair.create_initiation();
        (timed(|| pair.consume_initiation(initiation)).0, 1)
    });
    let mut pair = Pair::new();
    let consume_response = Case::new(SUBJECT, "consume response, create keepalive", move || {
        pair.wait();
        let initiation = pair.create_initiation();
        let response = pair.consume_initiation(initiation);
        (timed(|| pair.consume_response(response)).0, 1)
    });
    let mut pair = Pair::new();
    let whole = Case::new(SUBJECT, "whole, both sides", move || (timed(|| pair.handshake()).0, 1));
    let cases = vec![create_initiation, consume_initiation, consume_response, whole];
    interleave("handshake", "ns", cases, plan, progress)
}
