//! See `bodies/src/wire_parse.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::wire_parse(data));
