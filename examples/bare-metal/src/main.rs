//! The firmware: a node behind a serial line. What is the board's is in `startup.rs` and `board/`.
//!
//! The one loop does what is due, sends what is wanted, takes what came, and sleeps until there is more.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod board;
#[cfg(target_os = "none")]
mod firmware;
#[cfg(target_os = "none")]
mod startup;

/// There is no board here: the firmware is built for `thumbv7em-none-eabihf`, see the README.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("This firmware runs on a board: see README.md.");
}
