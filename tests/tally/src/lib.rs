//! Counts, for tests, what code spends on a thread: allocations, and looks at a tag.
//!
//! A program that names this crate has its allocator. Counts are by thread, so that tests beside each other do not disturb
//! each other.

#![deny(unsafe_code)]

pub mod aead;
pub mod allocator;
