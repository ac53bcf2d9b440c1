//! See `bodies/src/cookie_reply.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wg_fuzz::cookie_reply(data));
