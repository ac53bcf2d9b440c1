//! All strategies side by side on this machine: from memory to memory, and through two gateways in network namespaces.
//!
//! Method. The first part is `wg-strategies`, a program of its own. In the second the strategies take turns in each round; a turn
//! starts two fresh gateways of one strategy on the same number of threads, joined by a veth pair, and measures TCP with one
//! stream and with eight, and the processor time of both gateways for a gigabyte of the first. A figure is the median over the
//! rounds, with the least and the most. Nothing is installed: without root or `iperf3` the second part is left out, and that is
//! said.

use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::fs;
use std::panic::{catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use wg_netns::{Family, Launch, Pair, Program, Requirements, cleanup, iperf, process};

use super::peers::record;
use crate::cargo::{self, Profile};
use crate::report::{self, Row, figure};

const BENCH: &str = "strategies";
const ROUNDS: u32 = 5;
/// As many as most machines have to spare, and as the first part has.
const THREADS: u32 = 2;

/// Case, metric, unit.
const FIGURES: [(&str, &str, &str); 3] = [
    ("gateway, TCP x1", "throughput", "Gbit/s"),
    ("gateway, TCP x8", "throughput", "Gbit/s"),
    ("gateway, TCP x1", "processor time", "s/GB"),
];

/// Measures, prints the tables, and writes what is asked for.
pub(super) fn run(
    rounds: Option<u32>,
    seconds: u64,
    [json, markdown]: [Option<&Path>; 2],
    keep: bool,
) -> Result<(), String> {
    let rounds = rounds.unwrap_or(ROUNDS);
    let conditions = format!(
        "{}, commit {}.\n{rounds} rounds in turns, {seconds} s a stream; two gateways of {THREADS} threads and the \
         generators on this machine.",
        record::machine_and_kernel(),
        record::commit()
    );
    println!("{conditions}\n");
    let (mut rows, memory) = from_memory(rounds)?;
    println!("{memory}");
    let missing = Requirements::check().and_program("iperf3", "iperf3");
    let gateway = if missing.missing().is_empty() {
        Program::gateway_is_at(cargo::build_gateway(Profile::Release)?);
        // What the harness cannot set up is a panic that says why; after Ctrl-C it says nothing.
        set_hook(Box::new(|info| {
            cleanup::stop_if_ending();
            eprintln!("{info}");
        }));
        let names = names(&rows);
        let measured = through_gateways(&names, rounds, seconds);
        cleanup::stop_if_ending();
        let table = table(&names, &measured);
        rows.extend(measured);
        table
    } else {
        format!("Left out: what goes through gateways needs\n  {}\n", missing.missing().join("\n  "))
    };
    println!("{gateway}");
    let kept = if keep { Some(record::directory()?) } else { None };
    let paths = |asked: Option<&Path>, name: &str| {
        let kept = kept.as_ref().map(|directory| directory.join(name));
        asked.map(Path::to_path_buf).into_iter().chain(kept).collect::<Vec<PathBuf>>()
    };
    for path in paths(json, "strategies.json") {
        report::write_json(&path, &rows)?;
    }
    for path in paths(markdown, "strategies.md") {
        let parts = [
            "# Strategies",
            &conditions,
            "## From memory to memory",
            "Out, packets are read, sealed and sent; in, trains of datagrams that wait in the sockets are received, opened and \
             delivered: without the kernel, by threads that do not sleep. With `counter-split` datagrams wait in the sockets of \
             other lanes than their home's, where there are others; for what goes out it is `adaptive`.",
            memory.trim_end(),
            "## Through two gateways",
            &gateway,
        ];
        record::write(&path, &parts.join("\n\n"))?;
    }
    Ok(())
}

/// Runs the program of the first part: its rows, and its tables.
fn from_memory(rounds: u32) -> Result<(Vec<Row>, String), String> {
    let json = std::env::temp_dir().join(format!("wg-strategies-{}.json", std::process::id()));
    let mut run =
        cargo::command(&["run", "--quiet", "--release", "--package", "wg-benches", "--bin", "wg-strategies"]);
    // Each sample takes milliseconds.
    run.args(["--", "--rounds", &(2 * rounds + 1).to_string(), "--json"]).arg(&json);
    let output = run.stderr(Stdio::inherit()).output().map_err(|error| format!("cargo: {error}"))?;
    let text = fs::read_to_string(&json);
    fs::remove_file(&json).ok();
    if !output.status.success() {
        return Err(format!("wg-strategies: {}", output.status));
    }
    let text = text.map_err(|error| format!("{}: {error}", json.display()))?;
    let rows = serde_json::from_str(&text).map_err(|error| format!("wg-strategies: {error}"))?;
    Ok((rows, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The strategies there are, in the order of `wg-sched`.
fn names(rows: &[Row]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| row.unit == "ns/packet") {
        if !names.contains(&row.subject) {
            names.push(row.subject.clone());
        }
    }
    names
}

fn through_gateways(names: &[String], rounds: u32, seconds: u64) -> Vec<Row> {
    let mut samples: Vec<[Vec<f64>; FIGURES.len()]> = names.iter().map(|_| Default::default()).collect();
    for round in 1..=rounds {
        for (name, samples) in names.iter().zip(&mut samples) {
            let measured = catch_unwind(AssertUnwindSafe(|| turn(name, seconds)));
            cleanup::stop_if_ending();
            let figures = match measured.unwrap_or_else(|_| Err("the turn failed".into())) {
                Ok(figures) => figures,
                Err(reason) => {
                    println!("round {round} of {rounds}, {name}: {reason}");
                    continue;
                }
            };
            let told = figures.map(figure).join(", ");
            println!("round {round} of {rounds}, {name}: {told}");
            for (samples, value) in samples.iter_mut().zip(figures) {
                samples.push(value);
            }
        }
    }
    let rows = names.iter().zip(&samples).flat_map(|(name, samples)| {
        let row = |((case, metric, unit), samples): (_, &Vec<f64>)| {
            (!samples.is_empty()).then(|| Row::new(BENCH, name, case, metric, unit, samples))
        };
        FIGURES.into_iter().zip(samples).filter_map(row).collect::<Vec<_>>()
    });
    rows.collect()
}

/// One turn of one strategy: the figures in their order.
fn turn(strategy: &str, seconds: u64) -> Result<[f64; FIGURES.len()], String> {
    let arguments = ["--threads", &THREADS.to_string(), "--strategy", strategy].map(Into::into).to_vec();
    let launch = Launch { arguments, ..Launch::from(Program::Gateway) };
    let pair = Pair::new([launch.clone(), launch]);
    pair.acquaint_directly(Family::V4);
    if !pair.a.reaches(&pair.b, Family::V4) {
        return Err("the first ping was not answered".into());
    }
    let pids = [pair.a.tunnel.pid(), pair.b.tunnel.pid()];
    let used = || pids.iter().filter_map(|pid| process::cpu_time(*pid)).sum::<Duration>();
    let (from, to, address) = (&pair.a.namespace, &pair.b.namespace, pair.b.inner(Family::V4));
    let stream = |count| {
        iperf::streams(from, to, address, seconds, count, iperf::Direction::Forward)
            .map(|report| report.gigabits_per_second)
            .map_err(|failure| failure.to_string())
    };
    let before = used();
    let one = stream(1)?;
    let cost = (used() - before).as_secs_f64() / (one * seconds as f64 / 8.0).max(1e-9);
    Ok([one, stream(8)?, cost])
}

/// The figures of each strategy, in Markdown.
fn table(names: &[String], rows: &[Row]) -> String {
    let heads = FIGURES
        .map(|(case, metric, unit)| format!("{}: {metric}, {unit}", case.trim_start_matches("gateway, ")));
    let mut text =
        format!("| median (least to most) | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for name in names {
        let cell = |(case, metric, _): (&str, &str, &str)| {
            let row =
                rows.iter().find(|row| row.subject == *name && row.case == case && row.metric == metric);
            row.map_or_else(
                || "-".to_owned(),
                |row| format!("{} ({}-{})", figure(row.median), figure(row.min), figure(row.max)),
            )
        };
        text += &format!("| `{name}` | {} |\n", FIGURES.map(cell).join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_first_part_each_once() {
        let row = |name: &str, unit: &str| Row::new(BENCH, name, "c", "time", unit, &[1.0]);
        let rows = [
            ("b", "ns/packet"),
            ("b", "packets/s"),
            ("a", "ns/packet"),
            ("b", "ns/packet"),
            ("ring", "ns/batch"),
        ];
        assert_eq!(names(&rows.map(|(name, unit)| row(name, unit))), ["b", "a"]);
    }

    #[test]
    fn a_line_for_each_strategy_and_a_dash_for_what_could_not_be_had() {
        let rows = [
            Row::new(BENCH, "inline", "gateway, TCP x1", "throughput", "Gbit/s", &[4.0, 5.0, 7.0]),
            Row::new(BENCH, "inline", "gateway, TCP x1", "processor time", "s/GB", &[0.2]),
        ];
        let names = ["inline", "locked-spin"].map(str::to_owned);
        let table = table(&names, &rows);
        assert!(table.starts_with("| median (least to most) | TCP x1: throughput, Gbit/s | TCP x8"));
        assert!(table.contains("| `inline` | 5.00 (4.00-7.00) | - | 0.200 (0.200-0.200) |\n"), "{table}");
        assert!(table.contains("| `locked-spin` | - | - | - |\n"), "{table}");
        assert_eq!(table.lines().count(), 2 + names.len());
    }
}
