//! The handshake, by message and by role, and what it is made of: X25519 by each backend, and checks of MAC1.

use core::hint::black_box;

use blake2::Blake2sMac;
use blake2::digest::{KeyInit, Mac, consts::U16};
use wg_proto::dh::{AwsLcDh, Dh};
use wg_proto::{Mac1Key, PrivateKey, PublicKey};

use super::{Case, Plan, sample, timed};
use crate::load::{BATCH, Pair};
use crate::report::Row;

const BENCH: &str = "handshake";
/// Multiplications a sample; and the samples of all cases take turns.
const MANY: u64 = 16;

pub(super) fn run(plan: Plan, progress: impl FnMut(usize)) -> Vec<Row> {
    let (mut cases, others) = (backend::<PrivateKey>("dalek"), backend::<AwsLcDh>("aws-lc"));
    // Each of the others is compared with the case at the same place among those of the first.
    let mut compared: Vec<_> = (0..cases.len()).map(|_| None).chain((0..others.len()).map(Some)).collect();
    cases.extend(others);
    compared.extend([None, Some(cases.len()), Some(cases.len())]);
    cases.extend(mac1());

    let samples = sample(&mut cases, plan, progress);
    let mut rows = Vec::new();
    for ((case, times), compared) in cases.iter().zip(&samples).zip(compared) {
        let time = Row::new(BENCH, case.subject, &case.name, "time", "ns", times);
        let is_rate = case.name.starts_with("as ") || case.name.starts_with("MAC1");
        let rate = is_rate.then(|| time.derive("rate", "1/s", |ns| 1e9 / ns));
        // Round by round: what slows the machine down for a while slows both.
        let ratio = compared.map(|other| {
            let ratios: Vec<_> = samples[other].iter().zip(times).map(|(other, time)| other / time).collect();
            Row::new(BENCH, case.subject, &case.name, "speed", cases[other].subject, &ratios)
        });
        rows.extend([Some(time), rate, ratio].into_iter().flatten());
    }
    rows
}

/// All that has to do with X25519.
fn backend<D: Dh>(subject: &'static str) -> Vec<Case> {
    let (key, their) = (D::new(PrivateKey::from_bytes([3; 32])), PublicKey::from_bytes([9; 32]));
    let shared_secret = Case::new(subject, "shared secret", move || {
        let each = || drop(black_box(key.diffie_hellman(black_box(&their))));
        (timed(|| (0..MANY).for_each(|_| each())).0, MANY)
    });
    let key_pair = Case::new(subject, "key pair", move || {
        let each = |number| D::new(PrivateKey::from_bytes(black_box([number; 32]))).public_key();
        (timed(|| (0..16).map(each).fold(0, |sum, key| sum ^ key.as_bytes()[0])).0, 16)
    });
    let mut pair = Pair::<D>::new();
    let create_initiation = Case::new(subject, "create initiation", move || {
        pair.wait();
        (timed(|| pair.create_initiation()).0, 1)
    });
    let mut pair = Pair::<D>::new();
    let consume_initiation = Case::new(subject, "consume initiation, create response", move || {
        pair.wait();
        let initiation = pair.create_initiation();
        (timed(|| pair.consume_initiation(initiation)).0, 1)
    });
    let mut pair = Pair::<D>::new();
    let consume_response = Case::new(subject, "consume response, create keepalive", move || {
        pair.wait();
        let initiation = pair.create_initiation();
        let response = pair.consume_initiation(initiation);
        (timed(|| pair.consume_response(response)).0, 1)
    });
    let mut pair = Pair::<D>::new();
    let initiator = Case::new(subject, "as initiator", move || {
        pair.wait();
        let (begin, initiation) = timed(|| pair.create_initiation());
        let response = pair.consume_initiation(initiation);
        (begin + timed(|| pair.consume_response(response)).0, 1)
    });
    let mut pair = Pair::<D>::new();
    let responder = Case::new(subject, "as responder", move || {
        pair.wait();
        let initiation = pair.create_initiation();
        let (answer, response) = timed(|| pair.consume_initiation(initiation));
        let keepalive = pair.consume_response(response);
        (answer + timed(|| pair.confirm(keepalive)).0, 1)
    });
    let mut pair = Pair::<D>::new();
    let whole = Case::new(subject, "whole, both sides", move || (timed(|| pair.handshake()).0, 1));
    vec![
        shared_secret,
        key_pair,
        create_initiation,
        consume_initiation,
        consume_response,
        initiator,
        responder,
        whole,
    ]
}

/// A batch of initiations, as a flood brings them: one by one with the `blake2` crate, one by one, and all together.
fn mac1() -> [Case; 3] {
    let key = Mac1Key::new(&PublicKey::from_bytes([5; 32]));
    let mut messages = vec![[0x55; 148]; BATCH];
    for (number, message) in messages.iter_mut().enumerate() {
        message[4] = number.to_le_bytes()[0];
        key.write(message);
    }
    let (same_key, same_messages) = (key.clone(), messages.clone());
    let alone = Case::new("wg-proto", "MAC1, one by one", move || {
        let right =
            || same_messages.iter().filter(|message| same_key.verify(black_box(&message[..]))).count();
        (timed(right).0, BATCH as u64)
    });
    let all = messages.clone();
    let together = Case::new("wg-proto", "MAC1, 64 at once", move || {
        let mut right = [false; BATCH];
        (timed(|| key.verify_batch(black_box(&all), &mut right)).0, BATCH as u64)
    });
    // Its key is another, which costs the same.
    let crate_alone = Case::new("blake2", "MAC1, one by one", move || {
        let tag = |message: &[u8; 148]| {
            let mut mac = Blake2sMac::<U16>::new_from_slice(&[5; 32]).expect("32 bytes are a key");
            Mac::update(&mut mac, &black_box(message)[..116]);
            <[u8; 16]>::from(mac.finalize().into_bytes()) == message[116..132]
        };
        (timed(|| messages.iter().filter(|message| tag(message)).count()).0, BATCH as u64)
    });
    [crate_alone, alone, together]
}
