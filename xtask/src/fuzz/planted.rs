//! Proof that a target would find a bug: one is planted in a copy of the tree, and the target must fall over it.
//!
//! The patches stand in `fuzz/planted`; the working tree is not touched. The copy is built into its own target directory,
//! which is kept, so that a second run builds little.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::run::{arguments, fuzz_with};
use super::{Target, path, toolchain};
use crate::cargo;
use crate::report::print_table;

/// A copy of the tree, removed when dropped.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            println!("{}: {error}", self.0.display());
        }
    }
}

/// Plants and looks, target by target.
pub(super) fn run(targets: &[Target], time: Duration) -> Result<(), String> {
    let copy = Copy(copy()?);
    let mut lines = vec![["bug", "found after", "executions", "by"].map(str::to_owned).to_vec()];
    let mut missed = Vec::new();
    for target in targets {
        for (bug, patch) in bugs(target)? {
            let line = match planted(target, &copy.0, &patch, time) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    missed.push(bug.clone());
                    vec!["NOT FOUND".into()]
                }
                Err(error) => {
                    missed.push(bug.clone());
                    vec![error]
                }
            };
            println!("{bug}: {}", line.join(", "));
            lines.push([bug].into_iter().chain(line).collect());
        }
    }
    println!();
    print_table(&lines);
    if missed.is_empty() {
        Ok(())
    } else {
        Err(format!("Planted bugs that were not found: {}.", missed.join(", ")))
    }
}

/// The bugs for a target, by name: `TARGET.patch`, and `TARGET-WHAT.patch` if there are more.
fn bugs(target: &Target) -> Result<Vec<(String, PathBuf)>, String> {
    let folder = path("planted");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut bugs: Vec<_> = entries
        .filter_map(|entry| {
            let patch = entry.ok()?.path();
            let bug = patch.file_name()?.to_str()?.strip_suffix(".patch")?.to_owned();
            let rest = bug.strip_prefix(&target.name)?;
            (rest.is_empty() || rest.starts_with('-')).then_some((bug, patch))
        })
        .collect();
    bugs.sort();
    if bugs.is_empty() { Err(format!("no bug is planted for {}", target.name)) } else { Ok(bugs) }
}

/// Plants one bug, looks for it, and takes it out again.
fn planted(
    target: &Target,
    tree: &Path,
    patch: &Path,
    time: Duration,
) -> Result<Option<Vec<String>>, String> {
    apply(tree, patch, false)?;
    let found = look(target, tree, time);
    apply(tree, patch, true)?;
    found
}

/// Copies what git knows or would know of the tree.
fn copy() -> Result<PathBuf, String> {
    let mut list = Command::new("git");
    list.current_dir(cargo::root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = list.output().map_err(|error| format!("git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
    }
    // Always the same place, as cargo knows what it has built by it; and one of this tree alone, as others may have theirs.
    let to = path("target").join("planted-tree");
    if to.exists() {
        fs::remove_dir_all(&to).map_err(|error| format!("{}: {error}", to.display()))?;
    }
    for name in String::from_utf8_lossy(&output.stdout).split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (cargo::root().join(name), to.join(name));
        if !from.is_file() {
            continue;
        }
        let copied = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(&from, &to));
        copied.map_err(|error| format!("{}: {error}", to.display()))?;
    }
    Ok(to)
}

fn apply(tree: &Path, patch: &Path, reverse: bool) -> Result<(), String> {
    let mut apply = Command::new("git");
    // Not within a repository, whatever stands above the folder.
    apply.current_dir(tree).env("GIT_CEILING_DIRECTORIES", tree.parent().unwrap_or(tree));
    apply
        .args(["apply", "--whitespace=nowarn"])
        .args(reverse.then_some("--reverse"))
        .arg(std::path::absolute(patch).map_err(|error| error.to_string())?);
    cargo::run(&mut apply).map_err(|error| format!("{}: {error}", patch.display()))
}

/// Builds and runs; gives the line of the table, or none if nothing was found.
fn look(target: &Target, tree: &Path, time: Duration) -> Result<Option<Vec<String>>, String> {
    let built = path("target").join("planted");
    let built = std::path::absolute(built).map_err(|error| error.to_string())?;
    let mut build = toolchain::nightly(&toolchain::build_arguments("none"));
    build
        .arg(&target.name)
        .current_dir(tree.join("fuzz"))
        .env("CARGO_TARGET_DIR", &built)
        .stderr(Stdio::null());
    cargo::run(&mut build)?;
    let artifacts = tree.join("fuzz").join("artifacts").join(&target.name);
    fs::create_dir_all(&artifacts).map_err(|error| format!("{}: {error}", artifacts.display()))?;
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let fuzz = |seeds: Option<PathBuf>| {
        let mut fuzz = Command::new(built.join(&triple).join("release").join(&target.name));
        fuzz.args(arguments(target, &tree.join("fuzz")));
        fuzz.arg(format!("-max_total_time={}", time.as_secs().max(1)));
        fuzz.arg(format!("-artifact_prefix={}/", artifacts.display())).args(seeds);
        fuzz_with(&mut fuzz, &artifacts)
    };
    // First without what is kept, so that it is the fuzzer that finds; with it if that takes too long.
    for (by, seeds) in
        [("from nothing", None), ("with the seeds", Some(tree.join("fuzz/seeds").join(&target.name)))]
    {
        let start = Instant::now();
        let outcome = fuzz(seeds)?;
        if outcome.failure.is_some() && !outcome.artifacts.is_empty() {
            let after = format!("{:.1} s", start.elapsed().as_secs_f64());
            return Ok(Some(vec![after, outcome.executions.to_string(), by.into()]));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_bug_fits_the_tree() {
        let patches: Vec<_> =
            fs::read_dir(path("planted")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(patches.len() >= 15, "{patches:?}");
        for patch in patches {
            let mut check = Command::new("git");
            let check = check.current_dir(cargo::root()).args(["apply", "--check", "--whitespace=nowarn"]);
            assert!(check.arg(&patch).status().unwrap().success(), "{}", patch.display());
        }
    }
}
