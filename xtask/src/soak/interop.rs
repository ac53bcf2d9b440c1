//! `cargo xtask soak interop`: the tests of pairs in namespaces, with boringtun and gotatun in the place of `wireguard-go`.
//!
//! Some tests ask for what these do not do, as `BORINGTUN` and `GOTATUN` say; those are run by themselves, and told if they pass after all. All
//! others have to pass.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use wg_netns::program::PEER_VARIABLE;
use wg_netns::{Program, cleanup};

use crate::install;
use crate::report::print_table;
use crate::test::namespaces::{Ended, Suite, missing};

/// Which peers.
#[derive(Debug, Args)]
#[group(id = "interop")]
pub(crate) struct Options {
    /// The other implementations, both unless said otherwise.
    #[arg(long, value_delimiter = ',', value_parser = ["boringtun", "gotatun"])]
    peers: Vec<String>,
}

/// A program for the peer of a pair, and its crate.
const PEERS: [(Program, &str, &str); 2] =
    [(Program::Boringtun, "boringtun-cli", "boringtun-cli"), (Program::Gotatun, "gotatun-cli", "gotatun")];

/// The test programs that have tests of pairs.
const PROGRAMS: [&str; 12] = [
    "allowed_ips",
    "counters",
    "hostile",
    "interop",
    "keepalive",
    "lowkey",
    "many",
    "outer",
    "reconfig",
    "rekey",
    "restart",
    "roaming",
];

/// Both ways round.
const BOTH: &[&str] = &["gateway_with_other", "other_with_gateway"];
/// Only where the other implementation is the one whose behaviour is looked at.
const OTHER: &[&str] = &["other_with_gateway"];
const GATEWAY: &[&str] = &["gateway_with_other"];

/// A test of a program, the ways round in which a peer does not pass it, and why.
type Known = (&'static str, &'static str, &'static [&'static str], &'static str);

/// What boringtun-cli 0.7.1 does otherwise.
const BORINGTUN: &[Known] = &[
    ("allowed_ips", "prefix_moves_from_peer_to_peer", OTHER, CHANGE),
    ("allowed_ips", "source_of_another_peer_is_refused", OTHER, CHANGE),
    ("counters", "both_reports_agree", BOTH, "does not show its private key"),
    ("counters", "padding_counts_on_both_sides", BOTH, COUNTS),
    ("counters", "ten_pings_count_exactly", BOTH, COUNTS),
    ("interop", "first_node_initiates", BOTH, HANDSHAKE),
    ("interop", "large_mtu_is_carried_by_outer_fragments", BOTH, LARGE),
    ("interop", "preshared_keys_must_be_equal", BOTH, CHANGE),
    ("interop", "second_node_initiates", BOTH, HANDSHAKE),
    ("keepalive", "idle_peers_fall_silent", OTHER, "does not send the keepalive that it owes"),
    ("keepalive", "persistent_keepalive_begins_at_once", OTHER, CHANGE),
    ("lowkey", "nothing_is_sent_to_low_order_keys", OTHER, CHANGE),
    ("many", "many_peers", OTHER, CHANGE),
    ("reconfig", "own_key_is_no_peer", OTHER, "takes its own key for a peer"),
    ("reconfig", "padding_follows_the_mtu", BOTH, "does not follow the MTU of its interface at once"),
    ("reconfig", "preshared_key_change_waits_for_the_next_handshake", BOTH, CHANGE),
    ("reconfig", "private_key_is_shown_clamped", OTHER, "does not show its private key"),
    ("reconfig", "whole_configurations", OTHER, CHANGE),
    ("restart", "surviving_side_speaks", OTHER, HANDSHAKE),
    ("roaming", "answers_leave_from_the_address_that_was_asked", GATEWAY, SOURCE),
    ("roaming", "configured_endpoint_is_used_at_once", OTHER, CHANGE),
    ("roaming", "initiator_changes_its_address", OTHER, SOURCE),
    ("roaming", "responder_changes_its_address", GATEWAY, SOURCE),
];

/// What gotatun-cli 0.10.2 does otherwise.
const GOTATUN: &[Known] = &[
    ("allowed_ips", "prefix_moves_from_peer_to_peer", OTHER, "leaves a prefix with the peer that had it"),
    (
        "allowed_ips",
        "source_of_another_peer_is_refused",
        OTHER,
        "does not take a prefix around another peer's",
    ),
    ("counters", "padding_counts_on_both_sides", BOTH, COUNTS),
    ("counters", "ten_pings_count_exactly", BOTH, COUNTS),
    ("interop", "large_mtu_is_carried_by_outer_fragments", BOTH, LARGE),
    ("interop", "preshared_keys_must_be_equal", GATEWAY, "tells of a handshake before it is confirmed"),
    ("lowkey", "nothing_is_sent_to_low_order_keys", OTHER, "sends to low-order keys"),
    ("reconfig", "key_change_is_followed_at_once", OTHER, "does not remove its private key"),
    ("reconfig", "mark_is_on_every_datagram", OTHER, "refuses a mark"),
    ("reconfig", "own_key_is_no_peer", OTHER, "takes its own key for a peer"),
    ("reconfig", "port_zero_picks_one", OTHER, "is not heard after it picked a port"),
    ("reconfig", "private_key_is_shown_clamped", OTHER, "shows it as it was given"),
    ("reconfig", "whole_configurations", OTHER, "begins a new session for `wg syncconf`"),
    ("roaming", "answers_leave_from_the_address_that_was_asked", GATEWAY, SOURCE),
    // Once of three times it did.
    ("roaming", "configured_endpoint_is_used_at_once", OTHER, "goes on with the endpoint that it had"),
];

const CHANGE: &str = "does not change a peer that it has";
const COUNTS: &str = "does not count what is on the wire";
const HANDSHAKE: &str = "does not tell of the latest handshake as the others do";
const LARGE: &str = "has no room for packets as large as a larger MTU lets them be";
const SOURCE: &str = "does not choose or change the source of what it sends";

/// What `peer` does otherwise.
fn known(peer: Program) -> &'static [Known] {
    match peer {
        Program::Boringtun => BORINGTUN,
        Program::Gotatun => GOTATUN,
        Program::Gateway | Program::WireguardGo => &[],
    }
}

/// The full names of the tests of `program` that `peer` does not pass.
fn exceptions(peer: Program, program: &str) -> Vec<String> {
    let of_program = known(peer).iter().filter(|known| known.0 == program);
    of_program.flat_map(|(_, test, ways, _)| ways.iter().map(move |way| format!("{test}::{way}"))).collect()
}

/// Runs it.
pub(super) fn run(options: &Options) -> Result<(), String> {
    install::programs(&[&install::NAMESPACES, &install::WIREGUARD, &install::DECRYPTION]);
    let missing = missing();
    if !missing.is_empty() {
        return Err(missing);
    }
    let suite = Suite::build()?;
    let mut account = vec![["with", "passed", "failed", "known to fail"].map(str::to_owned).to_vec()];
    let mut failed = Vec::new();
    for (peer, name, program) in PEERS {
        if !options.peers.is_empty() && !options.peers.iter().any(|wanted| wanted == peer.name()) {
            continue;
        }
        let run = Run { suite: &suite, peer, search: search_path(&install::peer(name, program)?)? };
        println!("\nwith {}", peer.name());
        let results = run.all_but_known()?;
        let known: usize = PROGRAMS.iter().map(|program| exceptions(peer, program).len()).sum();
        for test in run.known()? {
            println!("  {test} passes, although it is known to fail");
        }
        let bad = results.iter().filter(|(_, passed)| !passed).map(|(test, _)| test.as_str());
        failed.extend(bad.map(|test| format!("with {}: {test}", peer.name())));
        let passed = results.iter().filter(|(_, passed)| *passed).count();
        account.push(vec![
            peer.name().to_owned(),
            passed.to_string(),
            (results.len() - passed).to_string(),
            known.to_string(),
        ]);
    }
    println!();
    print_table(&account);
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Where programs are looked for, with the folder of `program` in front.
fn search_path(program: &Path) -> Result<OsString, String> {
    let first = program.parent().map(Path::to_path_buf).into_iter();
    let usual = env::var_os("PATH").unwrap_or_default();
    let all = first.chain(env::split_paths(&usual));
    env::join_paths(all).map_err(|error| error.to_string())
}

/// The tests of pairs with one peer.
struct Run<'a> {
    suite: &'a Suite,
    peer: Program,
    search: OsString,
}

impl Run<'_> {
    /// Runs all tests that have to pass; each with whether it did. What those said that did not is shown.
    fn all_but_known(&self) -> Result<Vec<(String, bool)>, String> {
        let select = |program: &str, test: &mut Command| {
            // Two of ours have nothing to do with it.
            test.args(["--skip", "gateway_with_gateway"]);
            for name in exceptions(self.peer, program) {
                test.args(["--skip", &name]);
            }
        };
        self.run(&select, &|program| PROGRAMS.contains(&program), &|ended| {
            println!("  {}, {} s: {}", ended.name, ended.time.as_secs(), ended.failure.unwrap_or("passed"));
            if ended.failure.is_some() {
                println!("{ended}");
            }
        })
    }

    /// Runs the tests that are known to fail, and returns those that pass.
    fn known(&self) -> Result<Vec<String>, String> {
        let select = |program: &str, test: &mut Command| {
            test.arg("--exact").args(exceptions(self.peer, program));
        };
        let results = self.run(&select, &|program| !exceptions(self.peer, program).is_empty(), &|_| {})?;
        Ok(results.into_iter().filter(|(_, passed)| *passed).map(|(test, _)| test).collect())
    }

    fn run(
        &self,
        select: &(dyn Fn(&str, &mut Command) + Sync),
        is_wanted: &(dyn Fn(&str) -> bool + Sync),
        tell: &(dyn Fn(&Ended<'_>) + Sync),
    ) -> Result<Vec<(String, bool)>, String> {
        let results = Mutex::new(Vec::new());
        let prepare = |program: &str, test: &mut Command| {
            test.env(PEER_VARIABLE, self.peer.name()).env("PATH", &self.search);
            select(program, test);
        };
        let counted = |ended: &Ended<'_>| {
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.extend(outcomes(ended.said).map(|(test, ok)| (format!("{}: {test}", ended.name), ok)));
            tell(ended);
        };
        let verdict = self.suite.run(&prepare, is_wanted, &counted);
        cleanup::stop_if_ending();
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        match verdict {
            // A program that failed without a failed test is stuck or was not run at all.
            Err(error) if results.iter().all(|(_, passed)| *passed) => Err(error),
            _ => Ok(results),
        }
    }
}

/// Name and success of each test that a test program speaks of.
fn outcomes(said: &str) -> impl Iterator<Item = (&str, bool)> {
    said.lines().filter_map(|line| {
        let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
        Some((name, outcome == "ok"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_full_names() {
        assert_eq!(
            exceptions(Program::Boringtun, "many"),
            ["many_peers::other_with_gateway"],
            "the test, and the way round"
        );
        assert_eq!(exceptions(Program::Gotatun, "many"), [""; 0]);
        for peer in [Program::Boringtun, Program::Gotatun] {
            assert!(known(peer).iter().all(|(program, ..)| PROGRAMS.contains(program)));
        }
    }

    #[test]
    fn outcomes_are_read_line_by_line() {
        let said = "\nrunning 2 tests\ntest a::b ... ok\ntest c ... FAILED\ntest result: FAILED. 1 passed\n";
        assert_eq!(outcomes(said).collect::<Vec<_>>(), [("a::b", true), ("c", false)]);
    }
}
