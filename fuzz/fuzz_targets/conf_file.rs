//! See `bodies/src/conf_file.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::conf_file(data));
