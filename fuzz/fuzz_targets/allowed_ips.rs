//! See `bodies/src/allowed_ips.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::allowed_ips(data));
