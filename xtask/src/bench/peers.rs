//! The gateway beside the other programs that carry WireGuard in user space, on the same work in network namespaces.
//!
//! Method. The programs take turns in each round. A turn starts two fresh processes of one program in two namespaces joined
//! by a veth pair, with the same MTU for all, lets them shake hands and measures, with all of it on the processors of this
//! machine. One more column is the cable without a tunnel, which shows what the generators can do. A figure of the table is
//! the median over the rounds; a ratio is the median of the ratios within the rounds, so that what changes from one round to
//! another is not in it. With `--ablations` it is the gateway beside itself, with one part switched off at a time. What cannot be measured is said, with the reason, and the others go on.

mod ablations;
mod case;
mod chart;
mod column;
mod load;
pub(super) mod record;
mod route;
mod search;
mod table;

use core::panic::AssertUnwindSafe;
use std::panic::{catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use wg_netns::{Requirements, cleanup};

use crate::install;
use crate::report::{self, Row};
use ablations::Part;
use case::{Case, Extent, Measured};
use column::{Column, Name, Variant};
use load::Load;
use route::Route;
use table::Results;

const ROUNDS: u32 = 5;

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// `peers`, `strategies`: how long a stream, a series of echo requests, or the like lasts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(super) seconds: u64,
    /// `peers`: these programs only.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    programs: Vec<Name>,
    /// `peers`: these cases only.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    cases: Vec<Case>,
    /// `peers`: the gateway beside itself instead, with one part switched off at a time; these parts only, if some are named.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS", num_args = 0.., require_equals = true, conflicts_with = "programs")]
    ablations: Option<Vec<Part>>,
    /// `peers`: inner packets of these sizes only, in `udp`.
    #[arg(long, value_delimiter = ',', value_name = "BYTES", value_parser = sizes)]
    sizes: Vec<usize>,
    /// `peers`: one more column, the gateway with these arguments, as `--offload udp-gso=off`; may be given again.
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    gateway_args: Vec<String>,
    /// `peers`, `strategies`: also writes the tables to this file, as Markdown.
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,
    /// `peers`: also draws the figures into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// `peers`, `strategies`: also keeps all of it in `benches/record/<processor>/<date>/`.
    #[arg(long)]
    pub(super) record: bool,
}

/// What holds an inner packet with its headers and, in it, what the generator writes.
fn sizes(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| (64..=1420).contains(size));
    size.ok_or_else(|| "64 to 1420".into())
}

/// Measures, prints the table, and writes what is asked for.
pub(super) fn run(choice: &Choice, rounds: Option<u32>, json: Option<&Path>) -> Result<(), String> {
    install::programs(&[&install::NAMESPACES, &install::WIREGUARD, &install::TRAFFIC, &install::COUNTS]);
    let requirements =
        Requirements::check().and_program("ping", "iputils-ping").and_program("iperf3", "iperf3");
    if !requirements.missing().is_empty() {
        return Err(format!("The bench needs:\n  {}", requirements.missing().join("\n  ")));
    }
    let named = |arguments: &String| Variant {
        name: format!("wg-gateway {arguments}"),
        arguments: arguments.clone(),
        feature: None,
    };
    let mut variants: Vec<_> = choice.gateway_args.iter().map(named).collect();
    let names = match &choice.ablations {
        Some(parts) => {
            variants.splice(..0, ablations::variants(parts));
            &[Name::Ours][..]
        }
        None if choice.programs.is_empty() => &Name::ALL,
        None => &choice.programs,
    };
    let columns = column::columns(names, &variants)?;
    let load = Load::build()?;
    let rounds = rounds.unwrap_or(ROUNDS);
    let mut conditions = conditions(&columns, rounds, choice.seconds);
    if choice.ablations.is_some() {
        conditions = format!("{conditions}\n{}", ablations::legend(&variants));
    }
    println!("{conditions}");
    // What the harness cannot set up is a panic that says why; after Ctrl-C it says nothing.
    set_hook(Box::new(|info| {
        cleanup::stop_if_ending();
        eprintln!("{info}");
    }));
    let results = measure(columns, rounds, choice, &load);
    cleanup::stop_if_ending();
    if choice.ablations.is_some() {
        results.print_ablations()
    } else {
        results.print()
    }
    write(&results, &conditions, choice, json)
}

fn measure(columns: Vec<Column>, rounds: u32, choice: &Choice, load: &Load) -> Results {
    // In their own order, whatever was said: one may leave something behind that matters to the next.
    let (bench, all, sizes) = match choice.ablations {
        Some(_) => ("ablations", &ablations::CASES[..], &ablations::SIZES[..]),
        None => ("peers", &Case::ALL[..], &case::SIZES[..]),
    };
    let asked = if choice.cases.is_empty() { all } else { &choice.cases };
    let cases: Vec<Case> = Case::ALL.into_iter().filter(|case| asked.contains(case)).collect();
    let sizes = if choice.sizes.is_empty() { sizes } else { &choice.sizes };
    let extent = Extent { seconds: choice.seconds, sizes: sizes.to_vec() };
    let mut results = Results::new(bench, columns.clone());
    let start = Instant::now();
    for round in 1..=rounds {
        for (at, column) in columns.iter().enumerate() {
            let measured = catch_unwind(AssertUnwindSafe(|| turn(column, &cases, load, &extent)));
            cleanup::stop_if_ending();
            let measured = measured.unwrap_or_else(|_| Measured {
                notes: vec![format!("round {round}: the turn failed")],
                ..Measured::default()
            });
            println!("round {round} of {rounds}, {}, after {} s", column.name, start.elapsed().as_secs());
            results.take(at, round, measured);
        }
    }
    results
}

/// One turn: fresh processes, all cases.
fn turn(column: &Column, cases: &[Case], load: &Load, extent: &Extent) -> Measured {
    let mut all = Measured::default();
    let route = match Route::open(column) {
        Ok(route) => route,
        Err(reason) => {
            all.notes.push(reason);
            return all;
        }
    };
    case::idle(&route, &mut all);
    for case in cases.iter().filter(|case| column.launch.is_some() || case.is_of_the_cable()) {
        let measured = case.measure(&route, load, extent);
        all.figures.extend(measured.figures);
        all.notes.extend(measured.notes);
    }
    all
}

fn conditions(columns: &[Column], rounds: u32, seconds: u64) -> String {
    let mut lines = vec![
        format!("{}, commit {}.", record::machine_and_kernel(), record::commit()),
        format!(
            "{rounds} rounds in turns, {seconds} s a stream; both gateways and the generators on this machine."
        ),
    ];
    let versions = columns.iter().filter(|column| !column.version.is_empty());
    let versions = versions.map(|column| format!("{}: {}", column.name, column.version));
    lines.push(versions.collect::<Vec<_>>().join("; ") + ".");
    lines.join("\n")
}

fn write(results: &Results, conditions: &str, choice: &Choice, json: Option<&Path>) -> Result<(), String> {
    let rows = results.rows();
    let mut all: Vec<Row> = rows.clone();
    all.extend(results.ratios());
    let kept = if choice.record { Some(record::directory()?) } else { None };
    let paths = |asked: Option<&Path>, name: &str| {
        let kept = kept.as_ref().map(|directory| directory.join(name));
        asked.map(Path::to_path_buf).into_iter().chain(kept).collect::<Vec<_>>()
    };
    let name =
        |ending| format!("{}.{ending}", if choice.ablations.is_some() { "ablations" } else { "peers" });
    let markdown = match choice.ablations {
        Some(_) => results.ablations_markdown(conditions),
        None => results.markdown(conditions),
    };
    for path in paths(json, &name("json")) {
        report::write_json(&path, &all)?;
    }
    for path in paths(choice.markdown.as_deref(), &name("md")) {
        record::write(&path, &markdown)?;
    }
    for path in paths(choice.svg.as_deref(), &name("svg")) {
        // The cable would be the only bar to be seen.
        let drawn: Vec<Row> = rows.iter().filter(|row| row.subject != column::BARE).cloned().collect();
        record::write(&path, &chart::draw(&drawn))?;
    }
    Ok(())
}
