//! Any script of two or three hosts in the simulator: what they send, what the wire and an adversary do to it, clocks,
//! restarts, configuration. Every invariant of the simulator is one of this target (I1 to I11, and the account of packets).

use wg_sim::{Script, run};

/// Reads bytes as a script and runs it.
///
/// # Panics
///
/// If an invariant is broken; the message holds the script in its text form.
pub fn two_peers(data: &[u8]) {
    let script = Script::from_bytes(data);
    match run(&script) {
        Ok(report) => assert_eq!(report.counts.unexplained, 0, "{script}"),
        Err(violation) => panic!("{violation}\n{script}"),
    }
}
