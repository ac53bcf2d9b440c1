//! The run of all targets, side by side, and its table.

use core::time::Duration;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use super::{Target, path, toolchain};
use crate::cargo;
use crate::report::print_table;

/// Inputs that are kept of one target, at most.
const MOST_SEEDS: usize = 300;

/// What one target came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) executions: u64,
    pub(super) per_second: u64,
    pub(super) edges: u64,
    pub(super) features: u64,
    pub(super) corpus: u64,
    /// The inputs that broke it.
    pub(super) artifacts: Vec<PathBuf>,
    /// It ended badly, with these last lines.
    pub(super) failure: Option<String>,
}

/// Builds the targets and returns the folder of their programs.
pub(super) fn build(sanitizer: &str) -> Result<PathBuf, String> {
    cargo::run(&mut toolchain::nightly(&toolchain::build_arguments(sanitizer)))?;
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    Ok(path("target").join(triple).join("release"))
}

/// Runs the targets, each for its share of the time.
pub(super) fn run(targets: &[Target], time: Duration, keep: bool, sanitizer: &str) -> Result<(), String> {
    let programs = build(sanitizer)?;
    let workers = thread::available_parallelism().map_or(1, usize::from).min(targets.len());
    let share = time.mul_f64(workers as f64 / targets.len() as f64);
    println!("{} targets, {workers} at a time, {:.0} s each", targets.len(), share.as_secs_f64());
    let waiting: Mutex<VecDeque<&Target>> = Mutex::new(targets.iter().collect());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().ok().and_then(|mut waiting| waiting.pop_front());
                    let Some(target) = next else { return };
                    let outcome = one(target, &programs, share);
                    if let Ok(mut done) = done.lock() {
                        done.push((target.name.clone(), outcome));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().map_err(|_| "a worker panicked")?;
    done.sort_by(|one, other| one.0.cmp(&other.0));
    print(&done);
    if keep {
        for target in targets {
            merge(target, &programs)?;
        }
    }
    verdict(&done)
}

fn print(done: &[(String, Result<Outcome, String>)]) {
    let mut lines = vec![
        ["target", "executions", "exec/s", "corpus", "edges", "features", "crashes"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut total = 0;
    for (name, outcome) in done {
        let Ok(outcome) = outcome else {
            lines.push(vec![name.clone(), "did not run".into()]);
            continue;
        };
        total += outcome.executions;
        let numbers =
            [outcome.executions, outcome.per_second, outcome.corpus, outcome.edges, outcome.features];
        let crashes = outcome.artifacts.len().max(outcome.failure.is_some().into());
        let numbers = numbers.into_iter().chain([crashes as u64]).map(|number| number.to_string());
        lines.push([name.clone()].into_iter().chain(numbers).collect());
    }
    println!();
    print_table(&lines);
    println!("\n{total} executions in all");
}

fn verdict(done: &[(String, Result<Outcome, String>)]) -> Result<(), String> {
    let mut bad = false;
    for (name, outcome) in done {
        match outcome {
            Err(error) => {
                bad = true;
                println!("\n{name} did not run: {error}");
            }
            Ok(Outcome { artifacts, failure: Some(failure), .. }) => {
                bad = true;
                println!("\n{name} FAILED:\n{failure}");
                for artifact in artifacts {
                    println!("  input:     {}", artifact.display());
                    println!("  reproduce: cargo run -p wg-fuzz -- replay {name} {}", artifact.display());
                }
            }
            Ok(_) => {}
        }
    }
    if bad {
        Err("Not every target held; fuzz/README.md tells what to do with an input.".into())
    } else {
        Ok(())
    }
}

/// The arguments that every run of a target has.
pub(super) fn arguments(target: &Target, root: &Path) -> Vec<String> {
    let mut arguments = vec![
        format!("-max_len={}", target.max_len),
        "-timeout=20".into(),
        "-rss_limit_mb=2048".into(),
        "-print_final_stats=1".into(),
    ];
    if let Some(dictionary) = &target.dictionary {
        let dictionary = root.join("dictionaries").join(format!("{dictionary}.dict"));
        arguments.push(format!("-dict={}", dictionary.display()));
    }
    arguments
}

fn one(target: &Target, programs: &Path, time: Duration) -> Result<Outcome, String> {
    let corpus = path("corpus").join(&target.name);
    let artifacts = path("artifacts").join(&target.name);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let mut fuzz = Command::new(programs.join(&target.name));
    fuzz.args(arguments(target, &path(".")));
    fuzz.arg(format!("-max_total_time={}", time.as_secs().max(1)));
    fuzz.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzz.args(
        [corpus, path("seeds").join(&target.name), path("regressions").join(&target.name)]
            .iter()
            .filter(|p| p.is_dir()),
    );
    fuzz_with(&mut fuzz, &artifacts)
}

/// Runs a program of libFuzzer and reads what it says.
pub(super) fn fuzz_with(fuzz: &mut Command, artifacts: &Path) -> Result<Outcome, String> {
    let before = inputs(artifacts);
    let output =
        fuzz.stdin(Stdio::null()).stdout(Stdio::null()).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut outcome = read(&said);
    outcome.artifacts = inputs(artifacts).into_iter().filter(|input| !before.contains(input)).collect();
    if !output.status.success() {
        // What the panic said, and where.
        let told = said.lines().skip_while(|line| !line.contains("panicked at")).take(12).collect::<Vec<_>>();
        let last = said.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
        outcome.failure = Some(if told.is_empty() { last.join("\n") } else { told.join("\n") });
    }
    Ok(outcome)
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Reads the last status line and the final statistics.
fn read(said: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for line in said.lines() {
        let mut words = line.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let value = |text: Option<&&str>| text.and_then(|text| text.split('/').next()?.parse().ok());
            match word {
                "cov:" => outcome.edges = value(words.peek()).unwrap_or(outcome.edges),
                "ft:" => outcome.features = value(words.peek()).unwrap_or(outcome.features),
                "corp:" => outcome.corpus = value(words.peek()).unwrap_or(outcome.corpus),
                "stat::number_of_executed_units:" => outcome.executions = value(words.peek()).unwrap_or(0),
                "stat::average_exec_per_sec:" => outcome.per_second = value(words.peek()).unwrap_or(0),
                _ => {}
            }
        }
    }
    outcome
}

/// Makes the seeds the least set of inputs that goes all the ways that seeds and corpus go.
fn merge(target: &Target, programs: &Path) -> Result<(), String> {
    let (seeds, corpus) = (path("seeds").join(&target.name), path("corpus").join(&target.name));
    let merged = path("target").join("merged").join(&target.name);
    let told = |error: std::io::Error| format!("{}: {error}", merged.display());
    if merged.is_dir() {
        fs::remove_dir_all(&merged).map_err(told)?;
    }
    fs::create_dir_all(&merged).map_err(told)?;
    let mut merge = Command::new(programs.join(&target.name));
    merge.args(["-set_cover_merge=1", &format!("-max_len={}", target.max_len)]).arg(&merged);
    merge.args([&seeds, &corpus].iter().filter(|folder| folder.is_dir()));
    let output = merge.stdin(Stdio::null()).stdout(Stdio::null()).output().map_err(told)?;
    if !output.status.success() {
        return Err(format!("{}: merging failed: {}", target.name, String::from_utf8_lossy(&output.stderr)));
    }
    let mut kept = inputs(&merged);
    // The small ones of many: the replay in the tests has to stay short.
    kept.sort_by_key(|input| fs::metadata(input).map_or(u64::MAX, |file| file.len()));
    kept.truncate(MOST_SEEDS);
    let before = inputs(&seeds).len();
    if seeds.is_dir() {
        fs::remove_dir_all(&seeds).map_err(told)?;
    }
    fs::create_dir_all(&seeds).map_err(told)?;
    let mut size = 0;
    for input in &kept {
        let name = input.file_name().ok_or("an input without a name")?;
        size += fs::copy(input, seeds.join(name)).map_err(told)?;
    }
    println!("{}: {before} seeds before, {} now, {size} bytes", target.name, kept.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_statistics_are_read() {
        let said = "#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                    #9\tNEW    cov: 120 ft: 340 corp: 17/802b lim: 4 exec/s: 10 rss: 31Mb L: 4/4 MS: 1 X-\n\
                    stat::number_of_executed_units: 4096\nstat::average_exec_per_sec:     512\n";
        let outcome = read(said);
        assert_eq!((outcome.edges, outcome.features, outcome.corpus), (120, 340, 17));
        assert_eq!((outcome.executions, outcome.per_second), (4096, 512));
    }
}
