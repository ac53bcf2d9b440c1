//! Installing what tests and demo need, where the machine lets us.

use std::process::{Command, Stdio};

use wg_netns::requirements::find_program;

/// Installs what is missing of these Debian packages and of the toolchain. Says what it cannot do; whoever needs the thing
/// then says so again.
pub(crate) fn prepare(packages: &[&str]) {
    for (program, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if !works(program) {
            println!("installing the toolchain component {component}");
            run(Command::new("rustup").args(["component", "add", component]));
        }
    }
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return;
    }
    if find_program("apt-get").is_none() {
        println!("please install: {}", missing.join(" "));
        return;
    }
    println!("installing {}", missing.join(" "));
    run(apt().arg("update"));
    run(apt().args(["install", "--yes", "--no-install-recommends"]).args(missing));
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet=2");
    command
}

fn is_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output();
    query.is_ok_and(|output| output.stdout == b"installed")
}

fn works(program: &str) -> bool {
    let tried = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

fn run(command: &mut Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => println!("{command:?}: {status}"),
        Err(error) => println!("{command:?}: {error}"),
    }
}
