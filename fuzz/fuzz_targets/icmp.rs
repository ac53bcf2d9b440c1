//! See `bodies/src/icmp.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::icmp(data));
