//! See `bodies/src/rehome.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::rehome(data));
