//! See `bodies/src/two_peers.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::two_peers(data));
