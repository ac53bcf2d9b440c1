//! K4: tshark decrypts long runs, by the same tests that `cargo xtask test` runs at a small scale.

use std::path::PathBuf;

use clap::Args;
use wg_netns::program::KEY_LOG_GATEWAY_VARIABLE;
use wg_netns::requirements::REQUIRED_VARIABLE;

use crate::cargo::{self, Profile, command};
use crate::install;

/// How much.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Packets of each run.
    #[arg(long, default_value_t = 200_000)]
    packets: u64,
    /// Rekeys of each pair on the real wire; on the virtual one there are always 100.
    #[arg(long, default_value_t = 100)]
    rekeys: u64,
}

/// Runs it.
pub(super) fn run(options: &Options) -> Result<(), String> {
    install::programs(&[&install::NAMESPACES, &install::WIREGUARD, &install::DECRYPTION]);
    let mut virtual_wire =
        command(&["test", "--release", "--package", "wg-secrets", "--features", "key-log"]);
    virtual_wire.args(["--test", "decrypt", "--", "--nocapture"]);
    virtual_wire.env("WG_DECRYPT_PACKETS", options.packets.to_string()).env(REQUIRED_VARIABLE, "1");
    cargo::run(&mut virtual_wire)?;

    let gateway: PathBuf = cargo::build_key_log_gateway(Profile::Release)?;
    // There are as many again in the other direction.
    let packets = options.packets / 2 / options.rekeys.max(1);
    let mut real_wire = command(&["test", "--release", "--package", "wg-netns", "--test", "decrypt"]);
    real_wire.args(["--", "--nocapture"]).env(KEY_LOG_GATEWAY_VARIABLE, gateway).env(REQUIRED_VARIABLE, "1");
    real_wire.env("WG_DECRYPT_REKEYS", options.rekeys.to_string());
    cargo::run(real_wire.env("WG_DECRYPT_PACKETS", packets.to_string()))
}
