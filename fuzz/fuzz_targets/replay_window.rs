//! See `bodies/src/replay_window.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::replay_window(data));
