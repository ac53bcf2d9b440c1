//! `cargo xtask soak offloads`: the whole suite in namespaces with all offloads, with none, and without each of them, on one
//! lane, two and four; resumable.
//!
//! A combination takes some minutes. What has passed is written down, and a second run goes on with what is left; one that
//! failed is named at the end with the file that holds what its tests said, and is tried again then.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use wg_netns::cleanup;

use crate::cargo;
use crate::install;
use crate::report::print_table;
use crate::soak::progress::{Counts, Progress};
use crate::test::namespaces::{Suite, missing};

/// Each as the gateway's `--offload` takes it.
const OFFLOADS: [&str; 7] =
    ["all=on", "all=off", "tun-csum=off", "tun-tso=off", "tun-uso=off", "udp-gso=off", "udp-gro=off"];
const THREADS: [u8; 3] = [1, 2, 4];
/// A combination has passed once; there is nothing to draw.
const SEED: u64 = 1;
const SECONDS: &str = "seconds";

/// Which combinations.
#[derive(Debug, Args)]
#[group(id = "combinations")]
pub(crate) struct Options {
    /// The offloads that are off, as `udp-gso=off`; all of them in turn unless said otherwise.
    #[arg(long, value_delimiter = ',', value_parser = OFFLOADS)]
    offloads: Vec<String>,
    /// The numbers of lanes.
    #[arg(long, value_delimiter = ',', default_values_t = THREADS)]
    threads: Vec<u8>,
    /// Where to keep what was done; a second run goes on from there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(options: &Options) -> Result<(), String> {
    install::programs(&[&install::NAMESPACES, &install::WIREGUARD, &install::DECRYPTION]);
    let missing = missing();
    if !missing.is_empty() {
        return Err(missing);
    }
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => cargo::target_directory()?.join("soak-progress"),
    };
    let file = dir.join("offloads.json");
    let mut progress = Progress::load(&file)?;
    let suite = Suite::build()?;
    let all = OFFLOADS.map(str::to_owned);
    let offloads = if options.offloads.is_empty() { &all[..] } else { &options.offloads };
    let mut account = vec![["combination", "outcome", "s"].map(str::to_owned).to_vec()];
    let mut failed = Vec::new();
    for arguments in combinations(offloads, &options.threads) {
        let outcome = if progress.runs(&arguments) > 0 {
            "passed".to_owned()
        } else {
            println!("{arguments}");
            let start = Instant::now();
            let log = dir.join(format!("{}.log", arguments.replace("--", "").replace(' ', "_")));
            let verdict = run_one(&suite, &arguments, &log);
            cleanup::stop_if_ending();
            match verdict {
                Ok(()) => {
                    let counts = Counts::from([(SECONDS.to_owned(), start.elapsed().as_secs())]);
                    progress.done(&arguments, SEED, &counts, &file)?;
                    "passed now".to_owned()
                }
                Err(error) => {
                    failed.push(format!("{arguments}: {error}, see {}", log.display()));
                    "FAILED".to_owned()
                }
            }
        };
        account.push(vec![arguments.clone(), outcome, progress.count(&arguments, SECONDS).to_string()]);
    }
    println!();
    print_table(&account);
    println!("\nkept in {}", file.display());
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// The arguments of the gateways, in the order in which they take their turn.
fn combinations(offloads: &[String], threads: &[u8]) -> Vec<String> {
    let with = |threads| offloads.iter().map(move |off| format!("--offload {off} --threads {threads}"));
    threads.iter().flat_map(with).collect()
}

/// Runs the suite once, and keeps what its tests said.
fn run_one(suite: &Suite, arguments: &str, log: &Path) -> Result<(), String> {
    let text = |error: std::io::Error| format!("{}: {error}", log.display());
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).map_err(text)?;
    }
    let file = File::create(log).map_err(text)?;
    // The verdict does not need it.
    suite.run(arguments, &|said| drop((&file).write_all(format!("{said}\n").as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offload_is_off_alone_with_each_number_of_lanes() {
        let all = combinations(&OFFLOADS.map(str::to_owned), &THREADS);
        assert_eq!(all.len(), 21);
        assert_eq!(all[0], "--offload all=on --threads 1");
        assert!(all.contains(&"--offload udp-gso=off --threads 4".to_owned()));
    }
}
