//! What GNU binutils say about a program for the board.

use std::path::Path;
use std::process::Command;

use wg_netns::command::try_run;

use crate::install::Program;

/// The linker.
pub(super) const LINKER: Program = ("arm-none-eabi-ld", "binutils-arm-none-eabi");

/// All that is used here; one package holds it.
pub(super) const ALL: [Program; 1] = [LINKER];

/// A function or constant of a program.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    /// Its name as Rust has it.
    pub(super) name: String,
    /// Its name as the linker has it.
    pub(super) mangled: String,
    /// How many bytes it has.
    pub(super) size: usize,
    /// Whether it is code.
    pub(super) is_code: bool,
}

/// The symbols that have a size.
pub(super) fn symbols(program: &Path) -> Result<Vec<Symbol>, String> {
    // Both lists are in the order of the file.
    let list = |option: &str| output("nm", &["--no-sort", "--print-size", option], program);
    let (names, mangled) = (list("--demangle")?, list("--no-demangle")?);
    let read = |(name, mangled): (&str, &str)| {
        let mut fields = name.splitn(4, ' ').skip(1);
        let size = usize::from_str_radix(fields.next()?, 16).ok()?;
        let is_code = matches!(fields.next()?, "t" | "T" | "w" | "W");
        let name = fields.next()?.to_owned();
        Some(Symbol { name, mangled: mangled.splitn(4, ' ').nth(3)?.to_owned(), size, is_code })
    };
    Ok(names.lines().zip(mangled.lines()).filter_map(read).collect())
}

/// The sizes of the sections by name.
pub(super) fn sections(program: &Path) -> Result<Vec<(String, usize)>, String> {
    let read = |line: &str| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
    };
    Ok(output("size", &["-A"], program)?.lines().filter_map(read).collect())
}

/// The disassembly, under the linker's names.
pub(super) fn disassembly(program: &Path) -> Result<String, String> {
    output("objdump", &["--disassemble", "--no-show-raw-insn"], program)
}

/// The symbols whose address stands somewhere in code or data, to be called by it.
pub(super) fn taken_addresses(program: &Path) -> Result<Vec<String>, String> {
    let text = output("objdump", &["--reloc", "-j", ".vectors", "-j", ".text", "-j", ".rodata"], program)?;
    let symbol = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let kind = fields.next()?;
        (kind == "R_ARM_ABS32").then(|| fields.next().map(str::to_owned))?
    };
    Ok(text.lines().filter_map(symbol).collect())
}

/// The functions that the instruction at an address stands in, the innermost first, each with file and line: those that
/// were inlined, and then the one that is left.
pub(super) fn frames(program: &Path, address: &str) -> Result<Vec<(String, String)>, String> {
    let mut addr2line = Command::new("arm-none-eabi-addr2line");
    addr2line.args(["--inlines", "--functions", "--demangle", "--exe"]).arg(program).arg(address);
    let text = try_run(&mut addr2line).map_err(|failure| failure.to_string())?;
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect())
}

fn output(tool: &str, arguments: &[&str], program: &Path) -> Result<String, String> {
    try_run(Command::new(format!("arm-none-eabi-{tool}")).args(arguments).arg(program))
        .map_err(|failure| failure.to_string())
}
