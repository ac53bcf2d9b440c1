//! What is published can be packed, and what was packed builds.
//!
//! The packed libraries are unpacked side by side and built as a workspace of their own, where each stands in for the
//! registry's. The verification of `cargo package` itself is of no use here: it keeps unpacked sources by version, so
//! that a second run would build what the first had packed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{self, command};
use crate::test::Outcome;

/// Runs the stage.
pub(super) fn run() -> Result<Outcome, String> {
    let unpacked = unpack("unpacked")?;
    // The versions that the workspace is locked to.
    fs::copy(cargo::root().join("Cargo.lock"), unpacked.join("Cargo.lock")).map_err(|e| e.to_string())?;
    check(&unpacked)
}

/// The same with the oldest versions that the manifests allow for what the packages name themselves (S7): a user may be
/// given any of them.
pub(super) fn oldest() -> Result<Outcome, String> {
    let unpacked = unpack("unpacked-oldest")?;
    let mut update = command(&["update", "-Zdirect-minimal-versions", "--quiet", "--manifest-path"]);
    // The flag is not stable yet, and nothing but the choice of versions depends on it.
    cargo::run(update.arg(unpacked.join("Cargo.toml")).env("RUSTC_BOOTSTRAP", "1"))?;
    check(&unpacked)
}

/// Packs what is published and unpacks it, as a workspace without a lock file, under `name` in the target directory.
fn unpack(name: &str) -> Result<PathBuf, String> {
    let mut packages = cargo::packages()?;
    packages.retain(|package| package.published);
    let mut pack = command(&["package", "--quiet", "--no-verify", "--exclude-lockfile", "--allow-dirty"]);
    for package in &packages {
        pack.args(["--package", &package.name]);
    }
    cargo::run(&mut pack)?;

    let target = cargo::target_directory()?;
    let unpacked = target.join(name);
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).map_err(|e| e.to_string())?;
    }
    fs::create_dir_all(&unpacked).map_err(|e| e.to_string())?;
    let mut manifest = "[workspace]\nresolver = \"3\"\nmembers = [\"*-*\"]\n[patch.crates-io]\n".to_owned();
    for package in &packages {
        let folder = format!("{}-{}", package.name, package.version);
        manifest += &format!("{} = {{ path = \"{folder}\" }}\n", package.name);
        let archive = target.join("package").join(format!("{folder}.crate"));
        cargo::run(Command::new("tar").current_dir(&unpacked).arg("xzf").arg(archive))?;
    }
    fs::write(unpacked.join("Cargo.toml"), manifest).map_err(|e| e.to_string())?;
    Ok(unpacked)
}

fn check(unpacked: &Path) -> Result<Outcome, String> {
    let mut check = command(&["check", "--quiet", "--workspace", "--target-dir"]);
    check.arg(cargo::target_directory()?.join("unpacked-target"));
    cargo::run(check.arg("--manifest-path").arg(unpacked.join("Cargo.toml"))).map(|()| Outcome::Passed)
}
