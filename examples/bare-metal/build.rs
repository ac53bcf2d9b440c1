//! Tells the linker where its script is.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo:rerun-if-changed=link.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        println!("cargo:rustc-link-arg-bins=-T{folder}/link.ld");
        println!("cargo:rustc-link-arg-bins=--gc-sections");
        // So that the search for ways to panic sees which addresses are taken.
        println!("cargo:rustc-link-arg-bin=probe=--emit-relocs");
    }
}
