//! See `bodies/src/frame_header.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::frame_header(data));
