//! Installs what a task needs, where that is possible without asking: as root, from the packages of the system.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use wg_netns::requirements::find_program;

use crate::cargo;

/// A program and the Debian package that holds it.
pub(crate) type Program = (&'static str, &'static str);

/// What makes and joins namespaces.
pub(crate) const NAMESPACES: [Program; 2] = [("ip", "iproute2"), ("ping", "iputils-ping")];
/// What to configure and compare with.
pub(crate) const WIREGUARD: [Program; 2] = [("wg", "wireguard-tools"), ("wireguard-go", "wireguard-go")];
/// What to measure with.
pub(crate) const TRAFFIC: [Program; 1] = [("iperf3", "iperf3")];

/// What counts system calls.
pub(crate) const COUNTS: [Program; 1] = [("perf", "linux-perf")];

/// What decrypts without us.
pub(crate) const DECRYPTION: [Program; 1] = [("tshark", wg_netns::tshark::PACKAGE)];
/// What watches where secrets go; it needs to know the functions of the C library.
pub(crate) const CONSTANT_TIME: [Program; 2] = [("valgrind", "valgrind"), ("valgrind", "libc6-dbg")];

/// Installs those programs that are missing. What cannot be installed is told here, and by whoever needs it.
pub(crate) fn programs(wanted: &[&[Program]]) {
    let missing: Vec<&str> = wanted
        .iter()
        .flat_map(|group| group.iter())
        .filter(|(program, _)| find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return;
    }
    if !rustix::process::geteuid().is_root() || find_program("apt-get").is_none() {
        println!("missing, and not installed for want of root or apt-get: {}", missing.join(" "));
        return;
    }
    println!("installing {}", missing.join(" "));
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "Dpkg::Use-Pty=0"]).args(arguments);
        // Hundreds of lines for one package; what goes wrong is on standard error.
        tell(cargo::run(apt.stdout(Stdio::null())));
    };
    apt(&["update"]);
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(missing);
    apt(&install);
}

/// Installs the components of the toolchain that the checks need.
pub(crate) fn components() {
    for (task, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let works = cargo::command(&[task, "--version"]).output().is_ok_and(|output| output.status.success());
        if !works {
            println!("installing the component {component}");
            tell(cargo::run(Command::new("rustup").args(["component", "add", component])));
        }
    }
}

/// The program of a crate, installed to `target/peers` if it is not there yet, where it is kept.
pub(crate) fn peer(name: &str, program: &str) -> Result<PathBuf, String> {
    let root = cargo::target_directory()?.join("peers");
    let path = root.join("bin").join(program);
    if !path.is_file() {
        println!("installing {name}, which takes minutes once");
        let mut install = cargo::command(&["install", "--locked", "--quiet", "--root"]);
        install.arg(&root).arg("--target-dir").arg(root.join("build")).arg(name);
        cargo::run(&mut install).map_err(|error| format!("`cargo install --locked {name}`: {error}"))?;
        std::fs::remove_dir_all(root.join("build")).ok();
    }
    if path.is_file() { Ok(path) } else { Err(format!("{name} has no program {program}")) }
}

fn tell(result: Result<(), String>) {
    if let Err(error) = result {
        println!("{error}");
    }
}
