//! Runs `cargo` on this workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A `cargo` command that will run in the root of the workspace.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// Runs a command with our own standard output and error.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name}: {status}")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// Builds the gateway and returns its path.
pub(crate) fn build_gateway(profile: Profile) -> Result<PathBuf, String> {
    let mut build = command(&["build", "--package", "wg-gateway", "--bin", "wg-gateway"]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    executables(&mut build)?.pop().map(|(_, path)| path).ok_or_else(|| "cargo built no gateway".into())
}

/// Builds a gateway that writes its keys to a file, puts it where it is not taken for another, and returns its path.
pub(crate) fn build_key_log_gateway(profile: Profile) -> Result<PathBuf, String> {
    build_gateway_with("key-log", profile)
}

/// Builds a gateway with a feature that no gateway has that is used, puts it in a directory of that name, where it is not taken for
/// another, and returns its path.
pub(crate) fn build_gateway_with(feature: &str, profile: Profile) -> Result<PathBuf, String> {
    let mut build =
        command(&["build", "--package", "wg-gateway", "--bin", "wg-gateway", "--features", feature]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    let (_, built) = executables(&mut build)?.pop().ok_or("cargo built no gateway")?;
    let directory = target_directory()?.join(feature);
    let kept = directory.join("wg-gateway");
    let text = |error: std::io::Error| format!("{}: {error}", kept.display());
    std::fs::create_dir_all(&directory).map_err(text)?;
    // A copy, so that a build without the feature finds the place it is used to free of it.
    std::fs::copy(built, &kept).map_err(text)?;
    Ok(kept)
}

/// How to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// With debug assertions and overflow checks.
    Dev,
    /// As users run it.
    Release,
}

/// Runs a build and returns name and path of each program that it made.
pub(crate) fn executables(build: &mut Command) -> Result<Vec<(String, PathBuf)>, String> {
    build
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit());
    let output = build.output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo build: {}", output.status));
    }
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        if let (Some(path), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str())
        {
            found.push((name.to_owned(), path.into()));
        }
    }
    Ok(found)
}

/// Runs this program again, with the arguments it was given, as an optimised one: the load generator is in it.
pub(crate) fn again_in_release() -> Result<(), String> {
    let mut build = command(&["build", "--release", "--package", "xtask"]);
    let built = executables(&mut build)?.pop().ok_or("cargo built no xtask")?;
    run(Command::new(built.1).args(std::env::args_os().skip(1)))
}

/// A package of the workspace, as `cargo metadata` tells it.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its features, without `default`.
    pub(crate) features: Vec<String>,
    /// Whether it may be published.
    pub(crate) published: bool,
    /// The folder of its manifest.
    pub(crate) folder: PathBuf,
}

/// The packages of the workspace.
pub(crate) fn packages() -> Result<Vec<Package>, String> {
    let value = metadata()?;
    let read = |package: &Value| {
        let features = package["features"].as_object()?.keys().filter(|name| *name != "default").cloned();
        Some(Package {
            name: package["name"].as_str()?.to_owned(),
            version: package["version"].as_str()?.to_owned(),
            features: features.collect(),
            // Absent: anywhere. An empty list: nowhere.
            published: package["publish"].is_null(),
            folder: Path::new(package["manifest_path"].as_str()?).parent()?.to_path_buf(),
        })
    };
    let packages = value["packages"].as_array().and_then(|all| all.iter().map(read).collect());
    packages.ok_or_else(|| "cargo metadata: not as expected".to_owned())
}

/// Where `cargo` puts what it builds.
pub(crate) fn target_directory() -> Result<PathBuf, String> {
    let value = metadata()?;
    value["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| "cargo metadata: not as expected".into())
}

fn metadata() -> Result<Value, String> {
    let mut metadata = command(&["metadata", "--no-deps", "--format-version", "1"]);
    let output = metadata.output().map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}
