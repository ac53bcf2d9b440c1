//! See `bodies/src/scheduler.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::scheduler(data));
