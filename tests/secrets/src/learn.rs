//! Learns the secrets of a run, in a process that does nothing else: it takes the same steps, keeps what was drawn and sent,
//! and computes the rest.

use std::collections::BTreeMap;

use crate::masked::{Kind, Masked};
use crate::scenario::{Record, Scenario, Stage, cookie_source};
use crate::transcript::{Key, Keys, cookie, makes_cookie, public, secrets};

/// Runs a scenario to its end and returns its secrets.
///
/// # Errors
///
/// That a message was not explained by the keys that were drawn.
pub fn secrets_of<S: Scenario>() -> Result<Vec<Masked>, String> {
    let mut scenario = S::make(true);
    for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::Dropped) {
        scenario.go(stage);
    }
    explain(&scenario.record())
}

fn clamped(mut key: Key) -> Key {
    key[0] &= 0xf8;
    key[31] = key[31] & 0x7f | 0x40;
    key
}

fn explain(record: &Record) -> Result<Vec<Masked>, String> {
    let mut told = Vec::new();
    for (number, (side, key)) in record.statics.iter().enumerate() {
        told.push(Masked::new(Kind::StaticPrivate, &format!("static {number} of side {side}"), key));
    }
    for (number, psk) in record.psks.iter().enumerate() {
        told.push(Masked::new(Kind::Preshared, &format!("psk {number}"), psk));
    }
    let draws = record.draws.borrow();
    let ephemerals: BTreeMap<Key, Key> =
        draws.iter().map(|drawn| clamped(*drawn)).map(|key| (public(&key), key)).collect();
    let find = |public: &[u8]| {
        <Key>::try_from(public)
            .ok()
            .and_then(|public| ephemerals.get(&public))
            .copied()
            .ok_or("an unknown key")
    };
    let initiations = record.wire.iter().enumerate().filter(|(_, (_, bytes))| bytes[0] == 1);
    for (number, (at, (from, initiation))) in initiations.enumerate() {
        let name = format!("handshake {number}");
        let answers =
            |(by, bytes): &&(usize, Vec<u8>)| by != from && bytes[0] == 2 && bytes[8..12] == initiation[4..8];
        let response = record.wire[at..].iter().find(answers).map(|(_, bytes)| bytes.as_slice());
        let e_i = find(&initiation[8..40])?;
        let e_r = response.map_or(Ok([0; 32]), |response| find(&response[12..44]))?;
        let mut candidates = Vec::new();
        for (_, s_i) in record.statics.iter().filter(|(side, _)| side == from) {
            for (_, s_r) in record.statics.iter().filter(|(side, _)| side != from) {
                candidates.extend(record.psks.iter().map(|psk| Keys {
                    statics: [*s_i, *s_r],
                    ephemerals: [e_i, e_r],
                    psk: *psk,
                }));
            }
        }
        let secrets = candidates.iter().find_map(|keys| secrets(keys, initiation, response, &name));
        told.extend(secrets.ok_or_else(|| format!("{name} is not explained"))?);
    }
    explain_cookies(record, &draws, &mut told)?;
    told.sort_by_key(ToString::to_string);
    told.dedup();
    Ok(told)
}

fn explain_cookies(record: &Record, draws: &[Key], told: &mut Vec<Masked>) -> Result<(), String> {
    for (at, (from, reply)) in record.wire.iter().enumerate().filter(|(_, (_, bytes))| bytes[0] == 3) {
        let issuers = record.statics.iter().filter(|(side, _)| side == from).map(|(_, key)| public(key));
        let causes = record.wire[..at].iter().filter(|(by, bytes)| by != from && bytes[0] == 1);
        let mut pairs = issuers.flat_map(|issuer| causes.clone().map(move |(_, cause)| (issuer, cause)));
        let name = format!("cookie {at}");
        let found = pairs.find_map(|(issuer, cause)| cookie(&issuer, &cause[116..132], reply, &name));
        let found = found.ok_or_else(|| format!("{name} is not explained"))?;
        let source = cookie_source(1 - from);
        let secret = draws.iter().find(|secret| makes_cookie(secret, &source, &found));
        let secret = secret.ok_or_else(|| format!("the secret of {name} was not drawn"))?;
        told.push(Masked::new(Kind::CookieSecret, "cookie secret", secret));
        told.push(found);
    }
    Ok(())
}
