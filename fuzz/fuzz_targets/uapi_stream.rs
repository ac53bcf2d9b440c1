//! See `bodies/src/uapi_stream.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::uapi_stream(data));
