//! Which lines and functions the inputs of each target reach, of the files it is there for.
//!
//! The bodies are built with `-C instrument-coverage` on nightly and replay seeds, regressions and corpus; the tools of LLVM
//! that belong to nightly read what was counted. Unit tests are not in that build, so the figures are of the code alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Target, path, toolchain};
use crate::cargo;
use crate::report::print_table;

/// Replays and prints the table.
pub(super) fn run(targets: &[Target]) -> Result<(), String> {
    let tools = toolchain::llvm_tools()?;
    let built = path("target").join("coverage");
    let mut build =
        toolchain::nightly(&["build", "--quiet", "--release", "--package", "wg-fuzz", "--bin", "wg-fuzz"]);
    build
        .current_dir(cargo::root())
        .env("RUSTFLAGS", "-C instrument-coverage")
        .env("CARGO_TARGET_DIR", &built);
    // A line is counted where it stands: no inlining across crates, and every check in place.
    build.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    cargo::run(&mut build)?;
    let program = built.join("release").join("wg-fuzz");
    let mut lines = vec![["target", "file", "functions", "lines", "regions"].map(str::to_owned).to_vec()];
    for target in targets {
        let counted = counted(target, &program, &tools)?;
        lines.extend(rows(target, &counted));
    }
    print_table(&lines);
    Ok(())
}

/// Replays the inputs of a target and returns what `llvm-cov export` says.
fn counted(target: &Target, program: &Path, tools: &Path) -> Result<Value, String> {
    let folder = path("target").join("profiles").join(&target.name);
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.is_dir() {
        fs::remove_dir_all(&folder).map_err(told)?;
    }
    fs::create_dir_all(&folder).map_err(told)?;
    let raw = folder.join("raw.profraw");
    let mut replay = Command::new(program);
    replay.args(["replay", &target.name]).env("LLVM_PROFILE_FILE", &raw).stdout(std::process::Stdio::null());
    let folders = ["seeds", "regressions", "corpus"].map(|kind| path(kind).join(&target.name));
    cargo::run(replay.args(folders.iter().filter(|folder| folder.is_dir())))?;
    let merged = folder.join("merged.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    cargo::run(merge.args(["merge", "-sparse", "-o"]).args([&merged, &raw]))?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "-summary-only", "-instr-profile"]).arg(&merged).arg(program);
    let output = export.output().map_err(|error| format!("llvm-cov: {error}"))?;
    if !output.status.success() {
        return Err(format!("llvm-cov: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("llvm-cov: {error}"))
}

fn rows(target: &Target, counted: &Value) -> Vec<Vec<String>> {
    let none = Vec::new();
    let files = counted["data"][0]["files"].as_array().unwrap_or(&none);
    let mut rows = Vec::new();
    for file in files {
        let Some(name) = file["filename"].as_str() else { continue };
        let Some(wanted) =
            target.reaches.iter().find_map(|wanted| name.find(wanted.as_str()).map(|at| &name[at..]))
        else {
            continue;
        };
        let share = |what: &str| {
            let summary = &file["summary"][what];
            format!("{}/{}", summary["covered"].as_u64().unwrap_or(0), summary["count"].as_u64().unwrap_or(0))
        };
        let percent = file["summary"]["lines"]["percent"].as_f64().unwrap_or(0.0);
        let lines = format!("{} ({percent:.0} %)", share("lines"));
        rows.push(vec![target.name.clone(), wanted.to_owned(), share("functions"), lines, share("regions")]);
    }
    rows
}
