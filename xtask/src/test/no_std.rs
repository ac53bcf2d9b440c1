//! Proves that the core needs no standard library, without a target that has none.
//!
//! A library made for the purpose defines the panic handler itself and links the crate under test. Had that crate, or
//! one below it, linked the standard library, its panic handler would be the second, which the compiler refuses.

use core::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::cargo::{self, command};
use crate::test::Outcome;

/// The crates, each with the features it is proven with, and whether it may use `alloc`.
const CRATES: [(&str, &[&str], bool); 4] = [
    ("wg-aead", &[], false),
    ("wg-proto", &[], false),
    ("wg-proto", &["rustcrypto"], false),
    ("wg-datapath", &["rustcrypto"], true),
];

/// Runs the stage.
pub(super) fn run() -> Result<Outcome, String> {
    let packages = cargo::packages()?;
    for (name, features, has_alloc) in CRATES {
        let package = packages.iter().find(|package| package.name == name);
        let package = package.ok_or_else(|| format!("no package {name}"))?;
        let source = fs::read_to_string(package.folder.join("src/lib.rs")).map_err(|e| e.to_string())?;
        if !source.lines().any(|line| line == "#![no_std]") {
            return Err(format!("{name}: no line `#![no_std]` in src/lib.rs"));
        }
        println!("{name} with {features:?}");
        prove(name, &package.folder, features, has_alloc)?;
    }
    Ok(Outcome::Passed)
}

fn prove(name: &str, folder: &Path, features: &[&str], has_alloc: bool) -> Result<(), String> {
    let target = cargo::target_directory()?.join("no-std");
    let proof = target.join("proof");
    fs::create_dir_all(proof.join("src")).map_err(|e| e.to_string())?;
    let manifest = format!(
        "[package]\nname = \"no-std-proof\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\ncrate-type = [\"staticlib\"]\n\
         [dependencies]\n{name} = {{ path = {folder:?}, default-features = false, features = {features:?} }}\n\
         [profile.dev]\npanic = \"abort\"\n[workspace]\n"
    );
    let mut source = format!("#![no_std]\nextern crate {};\n", name.replace('-', "_"));
    source += "#[panic_handler]\nfn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }\n";
    if has_alloc {
        write!(
            source,
            "struct Nothing;\nunsafe impl core::alloc::GlobalAlloc for Nothing {{\n\
             unsafe fn alloc(&self, _: core::alloc::Layout) -> *mut u8 {{ core::ptr::null_mut() }}\n\
             unsafe fn dealloc(&self, _: *mut u8, _: core::alloc::Layout) {{}}\n}}\n\
             #[global_allocator]\nstatic NOTHING: Nothing = Nothing;\n"
        )
        .map_err(|e| e.to_string())?;
    }
    let write = |file: &str, content: &str| fs::write(proof.join(file), content).map_err(|e| e.to_string());
    write("Cargo.toml", &manifest)?;
    write("src/lib.rs", &source)?;
    // The versions that the workspace is locked to.
    fs::copy(cargo::root().join("Cargo.lock"), proof.join("Cargo.lock")).map_err(|e| e.to_string())?;
    let mut build = command(&["build", "--quiet", "--target-dir"]);
    cargo::run(build.arg(&target).arg("--manifest-path").arg(proof.join("Cargo.toml")))
}
