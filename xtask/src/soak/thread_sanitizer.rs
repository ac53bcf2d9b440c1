//! `cargo xtask soak thread-sanitizer`: threads that share memory, with ThreadSanitizer.
//!
//! What runs are the tests of `wg-sched` (rings, slots, offers, order, crews, the executor with its threads), those of
//! `wg-datapath` in which workers have one home or lanes split counters, and those of the locks of the gateway's homes. As root with `/dev/net/tun` there
//! are also two gateways in namespaces, whose threads carry traffic both ways while strategies change.
//!
//! The standard library is built along, so that its own atomics are seen: it has another way for its fences then. ThreadSanitizer
//! does not know fences. Those of this workspace are in `wg-sched/src/handoff/doorbell.rs`, `hands.rs` and `crew.rs`; they order atomics among
//! each other, for who sleeps and who rings. What is not atomic goes from thread to thread by a Release and an Acquire of one
//! atomic (`slot.rs`, and `rtrb` likewise), which are seen. So a report is a race, and that no bell is lost is for loom to show.

use std::path::PathBuf;

use wg_netns::Requirements;

use crate::cargo;
use crate::fuzz::toolchain;

/// What is built and run: the package, and what its tests are told.
const RUNS: [&[&str]; 4] = [
    // The tests that count allocations have an allocator of their own, of which the sanitizer knows nothing.
    &["--package", "wg-sched", "--lib"],
    &["--package", "wg-datapath", "--test", "shared"],
    &["--package", "wg-datapath", "--lib", "--", "split"],
    &["--package", "wg-gateway", "--lib", "--", "homes"],
];
/// Programs of tests in namespaces.
const PROGRAMS: [&str; 2] = ["lanes", "split"];
/// Tests of theirs that gateways are to pass.
const GATEWAYS: [&str; 3] = [
    "all_lanes_follow_the_interface_its_port_its_mark_and_its_key",
    "lanes_that_split_counters_follow_the_interface_its_port_its_mark_and_its_key",
    "peers_of_every_home_exchange_traffic",
];
/// Those whose threads share most. They ask for every packet of a stream, for which the sanitizer may be too slow: what counts is
/// whether there are reports.
const UNDER_LOAD: [&str; 7] = [
    "a_large_tunnel_is_split_without_being_asked_and_joined_again_and_streams_stay_intact",
    "a_peer_of_lanes_that_split_roams_under_traffic_both_ways_and_nothing_is_lost",
    "a_peer_renews_its_session_and_roams_while_all_other_lanes_receive_it",
    "busy_peers_of_one_lane_become_level_and_no_packet_of_theirs_is_overtaken",
    "counters_of_a_tunnel_are_split_over_threads_and_joined_again",
    "strategies_change_under_traffic_and_nothing_is_lost_or_overtaken",
    "workers_share_a_home_and_lose_nothing",
];

/// Runs it.
pub(super) fn run() -> Result<(), String> {
    toolchain::toolchain()?;
    toolchain::library_source()?;
    for arguments in RUNS {
        let mut test = instrumented(&["test"])?;
        cargo::run(test.args(arguments))?;
    }
    let requirements = Requirements::check();
    if !requirements.missing().is_empty() {
        println!("left out: gateways need\n  {}", requirements.missing().join("\n  "));
        return Ok(());
    }
    let mut build = instrumented(&["build"])?;
    // Without optimisation it does not keep up with the traffic of the tests.
    build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "2");
    cargo::run(build.args(["--package", "wg-gateway"]))?;
    let log = std::env::temp_dir().join(format!("wg-thread-sanitizer-{}", std::process::id()));
    let gateway = directory()?.join(triple()).join("debug/wg-gateway");
    let run = |tests: &[&str]| {
        // The harness itself is not instrumented.
        let mut test = cargo::command(&["test", "--no-fail-fast", "--package", "wg-netns"]);
        test.args(PROGRAMS.iter().flat_map(|program| ["--test", program])).arg("--").args(tests);
        test.args(["--exact", "--test-threads", "1"]).env("WG_GATEWAY", &gateway);
        test.env("TSAN_OPTIONS", format!("log_path={} halt_on_error=0", log.display()));
        cargo::run(&mut test)
    };
    let passed = run(&GATEWAYS);
    if run(&UNDER_LOAD).is_err() {
        println!("under load, packets were lost; that alone says nothing here");
    }
    // A file for each process that has something to report.
    let reports = reports(&log)?;
    if !reports.is_empty() {
        return Err(format!("gateways reported:\n{}", reports.join("\n")));
    }
    passed
}

/// A command of nightly that builds with the sanitizer, the standard library included.
fn instrumented(arguments: &[&str]) -> Result<std::process::Command, String> {
    // With a triple, so that build scripts and procedural macros are built without.
    let mut command = toolchain::nightly(arguments);
    command.current_dir(cargo::root()).args(["-Zbuild-std", "--target", &triple()]);
    command.env("RUSTFLAGS", "-Z sanitizer=thread").env("CARGO_TARGET_DIR", directory()?);
    command.env("TSAN_OPTIONS", "halt_on_error=1");
    Ok(command)
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn directory() -> Result<PathBuf, String> {
    Ok(cargo::target_directory()?.join("thread-sanitizer"))
}

/// What stands in the files whose names begin so; they are gone then.
fn reports(prefix: &std::path::Path) -> Result<Vec<String>, String> {
    let (Some(folder), Some(name)) = (prefix.parent(), prefix.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(Vec::new());
    };
    let mut reports = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.file_name().and_then(|found| found.to_str()).is_some_and(|found| found.starts_with(name)) {
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            reports.push(text);
            std::fs::remove_file(&path).ok();
        }
    }
    Ok(reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_tests_are_in_the_programs() {
        let source =
            |name| std::fs::read_to_string(cargo::root().join(format!("tests/netns/tests/{name}.rs")));
        let sources = PROGRAMS.map(|name| source(name).unwrap()).concat();
        for name in GATEWAYS.iter().chain(&UNDER_LOAD) {
            assert!(sources.contains(&format!("fn {name}()")), "{name}");
        }
    }

    #[test]
    fn reports_of_all_processes_are_found_and_no_others() {
        let prefix = std::env::temp_dir().join(format!("wg-reports-test-{}", std::process::id()));
        let file = |suffix: &str| PathBuf::from(format!("{}{suffix}", prefix.display()));
        for suffix in [".1", ".2"] {
            std::fs::write(file(suffix), suffix).unwrap();
        }
        let mut found = reports(&prefix).unwrap();
        found.sort();
        assert_eq!(found, [".1", ".2"]);
        assert!(reports(&prefix).unwrap().is_empty());
    }
}
