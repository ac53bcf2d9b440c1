//! `wg-fuzz replay TARGET [PATH]...` runs inputs on the stable toolchain, to look at what libFuzzer found or to measure;
//! `wg-fuzz seeds DIR` writes the inputs to begin from; `wg-fuzz list` names the targets.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wg_fuzz::{TARGETS, Target, seeds};

#[derive(Debug, Parser)]
#[command(version, about = "Runs the bodies of the fuzz targets")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs inputs, each a file or a folder of files, through a target; a panic ends it.
    Replay {
        /// The target.
        target: String,
        /// The inputs.
        paths: Vec<PathBuf>,
    },
    /// Writes the generated inputs of all targets, a folder each.
    Seeds {
        /// The folder for the folders.
        folder: PathBuf,
    },
    /// Prints a line for each target: name, dictionary, longest input, and the files it is there to reach.
    List,
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Replay { target, paths } => replay(&target, &paths),
        Task::Seeds { folder } => write_seeds(&folder),
        Task::List => {
            for Target { name, dictionary, max_len, reaches, .. } in TARGETS {
                println!("{name}\t{}\t{max_len}\t{}", dictionary.unwrap_or("-"), reaches.join(" "));
            }
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn replay(name: &str, paths: &[PathBuf]) -> Result<(), String> {
    let target = TARGETS.iter().find(|target| target.name == name).ok_or("there is no such target")?;
    let mut count = 0;
    for path in paths {
        for file in files(path)? {
            let input = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            // Said before, so that it is the last line when the target panics.
            if paths.len() == 1 && path.is_file() {
                println!("{}: {} bytes", file.display(), input.len());
            }
            (target.body)(&input);
            count += 1;
        }
    }
    println!("{name}: {count} inputs");
    Ok(())
}

fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

fn write_seeds(folder: &Path) -> Result<(), String> {
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for (number, seed) in seeds::seeds(target.name).iter().enumerate() {
            let path = folder.join(format!("generated-{number:02}"));
            std::fs::write(&path, seed).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}
