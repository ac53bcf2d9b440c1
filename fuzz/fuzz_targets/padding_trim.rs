//! See `bodies/src/padding_trim.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::padding_trim(data));
