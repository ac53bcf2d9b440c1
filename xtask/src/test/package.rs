//! What is published can be packed, and what was packed builds.
//!
//! The packed libraries are unpacked side by side and built as a workspace of their own, where each stands in for the
//! registry's. The verification of `cargo package` itself is of no use here: it keeps unpacked sources by version, so
//! that a second run would build what the first had packed.

use std::fs;
use std::process::Command;

use crate::cargo::{self, command};
use crate::test::Outcome;

/// Runs the stage.
pub(super) fn run() -> Result<Outcome, String> {
    let mut packages = cargo::packages()?;
    packages.retain(|package| package.published);
    let mut pack = command(&["package", "--quiet", "--no-verify", "--exclude-lockfile", "--allow-dirty"]);
    for package in &packages {
        pack.args(["--package", &package.name]);
    }
    cargo::run(&mut pack)?;

    let target = cargo::target_directory()?;
    let unpacked = target.join("unpacked");
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
    // The versions that the workspace is locked to.
    fs::copy(cargo::root().join("Cargo.lock"), unpacked.join("Cargo.lock")).map_err(|e| e.to_string())?;
    let mut build = command(&["check", "--quiet", "--workspace", "--target-dir"]);
    build.arg(target.join("unpacked-target")).arg("--manifest-path").arg(unpacked.join("Cargo.toml"));
    cargo::run(&mut build).map(|()| Outcome::Passed)
}
