//! R3: a thousand requests a second to change everybody but one peer, whose traffic loses nothing.

use core::fmt::Write as _;
use core::time::Duration;
use std::time::Instant;

use wg_netns::key::{Key, KeyPair};
use wg_netns::udp::Flow;
use wg_netns::{Family, Pair, Program, uapi};

use super::Choices;
use super::figures::{add, sample};
use crate::soak::progress::Counts;

const STRANGERS: u64 = 24;
const REQUESTS: u32 = 8000;
const INTERVAL: Duration = Duration::from_millis(1);
/// What a request may take.
const WATCHDOG: Duration = Duration::from_secs(5);

/// Eight seconds of it.
pub(super) fn trial(seed: u64, counts: &mut Counts) -> Result<(), String> {
    let mut choices = Choices(seed);
    let pair = Pair::acquainted([Program::Gateway; 2], Family::V4);
    if !pair.a.reaches_within(WATCHDOG, &pair.b, Family::V4) {
        return Err("no session before the storm".into());
    }
    let flow = |from: &wg_netns::Node, to: &wg_netns::Node, family| {
        Flow::start(&from.namespace, &to.namespace, (to.inner(family), 9000).into(), 500, 200)
    };
    let flows = [flow(&pair.a, &pair.b, Family::V4), flow(&pair.b, &pair.a, Family::V6)];
    let strangers: Vec<Key> = (0..STRANGERS).map(|_| KeyPair::generate().public).collect();
    let start = Instant::now();
    for number in 0..REQUESTS {
        let body = section(&mut choices, &strangers);
        std::thread::sleep((INTERVAL * number).saturating_sub(start.elapsed()));
        let asked = Instant::now();
        let answer = uapi::set(pair.a.interface(), &body);
        let took = asked.elapsed();
        if answer.as_ref().ok() != Some(&0) || took > WATCHDOG {
            return Err(format!("request {number}: {answer:?} after {took:?} to\n{body}"));
        }
        sample(counts, "us of a request", u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        add(counts, "requests", 1);
        if number % 64 == 0 {
            let status = uapi::get(pair.a.interface()).map_err(|error| format!("no state: {error}"))?;
            if status.peer(&pair.b.keys.public).is_none() {
                return Err("the untouched peer is gone".into());
            }
        }
    }
    for flow in flows {
        let account = flow.finish();
        add(counts, "packets", account.sent);
        if !account.is_perfect() {
            return Err(format!("the untouched peer: {account:?}"));
        }
    }
    Ok(())
}

/// A section about a stranger: added, changed in some attributes, or removed.
fn section(choices: &mut Choices, strangers: &[Key]) -> String {
    let at = usize::try_from(choices.below(strangers.len() as u64)).unwrap_or(0);
    let mut body = format!("public_key={}\n", strangers[at].hex());
    if choices.below(6) == 0 {
        return body + "remove=true\n";
    }
    let low = choices.below(250);
    for _ in 0..choices.below(5) {
        match choices.below(6) {
            0 => writeln!(body, "preshared_key={low:064x}"),
            1 => writeln!(body, "endpoint=10.0.0.{}:{}", 3 + low, 1 + choices.below(65_535)),
            2 => writeln!(body, "persistent_keepalive_interval={}", low % 3),
            3 => writeln!(body, "replace_allowed_ips=true"),
            // Never what belongs to the other node; the same ones again and again, so that they move.
            4 => writeln!(body, "allowed_ip=10.7.{}.0/24", low % 16),
            _ => writeln!(body, "allowed_ip=fd07:{:x}::/32", low % 16),
        }
        .expect("writing to a string");
    }
    body
}
