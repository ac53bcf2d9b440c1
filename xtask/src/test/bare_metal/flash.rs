//! What the firmware takes of flash and RAM, in all and by component.

use std::path::Path;

use super::binutils::{self, Symbol};
use super::{Row, budget};

/// Components, and the crates that they are made of.
const COMPONENTS: [(&str, &[&str]); 4] = [
    ("the state machine", &["wg_proto", "heapless"]),
    ("Curve25519", &["curve25519_dalek", "x25519_dalek"]),
    ("BLAKE2s and HMAC", &["blake2", "digest", "hmac", "block_buffer"]),
    (
        "ChaCha20-Poly1305",
        &["chacha20poly1305", "chacha20", "poly1305", "cipher", "aead", "inout", "universal_hash"],
    ),
];

/// Weighs the firmware, and the protocol alone.
pub(super) fn weigh(firmware: &Path, probe: &Path) -> Result<Vec<Row>, String> {
    let row = |name: &str, bytes, budget| Row { name: name.to_owned(), bytes, budget };
    let protocol = in_sections(probe, &[".text", ".rodata", ".data"])?;
    let mut rows = vec![row("flash of the protocol", protocol, Some(budget::PROTOCOL_FLASH))];
    let symbols = binutils::symbols(probe)?;
    let code: Vec<&Symbol> = symbols.iter().filter(|symbol| symbol.is_code).collect();
    let mut rest = protocol;
    for (component, crates) in COMPONENTS {
        let fits = |symbol: &&&Symbol| crates.contains(&crate_of(&symbol.name));
        let bytes = code.iter().filter(fits).map(|symbol| symbol.size).sum();
        rest = rest.saturating_sub(bytes);
        rows.push(row(&format!("  {component}"), bytes, None));
    }
    rows.push(row("  constants, core, and what several share", rest, None));
    let all = in_sections(firmware, &[".vectors", ".text", ".rodata", ".data"])?;
    rows.push(row("flash of the firmware", all, Some(budget::FIRMWARE_FLASH)));
    rows.push(row(
        "static RAM of the firmware",
        in_sections(firmware, &[".data", ".bss"])?,
        Some(budget::STATIC_RAM),
    ));
    let statics = symbols_by_size(firmware)?;
    rows.extend(statics.into_iter().map(|(name, bytes)| row(&format!("  {name}"), bytes, None)));
    Ok(rows)
}

fn in_sections(program: &Path, wanted: &[&str]) -> Result<usize, String> {
    let sections = binutils::sections(program)?;
    let found: Vec<usize> =
        sections.iter().filter(|(name, _)| wanted.contains(&name.as_str())).map(|(_, size)| *size).collect();
    if found.len() == wanted.len() { Ok(found.iter().sum()) } else { Err(format!("not all of {wanted:?}")) }
}

/// The large statics.
fn symbols_by_size(firmware: &Path) -> Result<Vec<(String, usize)>, String> {
    let mut statics: Vec<(String, usize)> = binutils::symbols(firmware)?
        .into_iter()
        .filter(|symbol| !symbol.is_code && symbol.size >= 256 && symbol.name.starts_with("wg_bare_metal::"))
        .map(|symbol| (symbol.name, symbol.size))
        .collect();
    statics.sort_by_key(|(_, size)| core::cmp::Reverse(*size));
    Ok(statics)
}

/// The crate that a function is of: that of its type if it is a method.
fn crate_of(name: &str) -> &str {
    let path = name.trim_start_matches(['<', '&', '[', '(']).trim_start_matches("mut ");
    path.split("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_belong_to_the_crate_of_their_type() {
        let table = [
            ("wg_proto::mac::keyed", "wg_proto"),
            ("<wg_proto::control::Control>::authenticate", "wg_proto"),
            ("<&curve25519_dalek::field::FieldElement as core::ops::Mul>::mul", "curve25519_dalek"),
            ("<&mut blake2::Blake2s as digest::Update>::update", "blake2"),
            ("core::panicking::panic_fmt", "core"),
            ("memcpy", "memcpy"),
        ];
        for (name, expected) in table {
            assert_eq!(crate_of(name), expected);
        }
    }
}
