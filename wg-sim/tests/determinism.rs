//! The same seed gives the same run; another seed another; and random scripts of each profile break nothing.

use wg_sim::{Profile, Script, run};

#[test]
fn same_seed_same_trace() {
    for profile in [Profile::Network, Profile::Hostile, Profile::Everything] {
        let mut traces = Vec::new();
        for seed in 100..112 {
            let script = Script::random(seed, profile, 120);
            let report = run(&script).unwrap_or_else(|violation| panic!("{violation}\n{script}"));
            assert_eq!(run(&script).as_ref(), Ok(&report), "seed {seed}");
            assert!(report.counts.packets > 0 && report.counts.unexplained == 0);
            traces.push(report.trace);
        }
        traces.sort_unstable();
        traces.dedup();
        assert_eq!(traces.len(), 12, "each seed has its own");
    }
}

#[test]
fn bytes_are_runs() {
    // As a fuzzer would: the bytes of scripts, and those with a byte changed.
    for seed in 0..40_u64 {
        let mut bytes = Script::random(seed, Profile::Everything, 60).to_bytes();
        let at = usize::try_from(seed * 37).unwrap() % bytes.len();
        bytes[at] ^= 0x5a;
        let script = Script::from_bytes(&bytes);
        if let Err(violation) = run(&script) {
            panic!("{violation}\n{script}");
        }
    }
}
