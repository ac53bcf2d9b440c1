//! See `bodies/src/ip_header.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::ip_header(data));
