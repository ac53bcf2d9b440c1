//! See `bodies/src/device_datagrams.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::device_datagrams(data));
