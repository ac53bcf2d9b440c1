//! What the compiler made of the kernel that valgrind cannot run: the instructions of AVX-512 in a release build.
//!
//! A rule that can be checked, and not a proof:
//!
//! 1. No gather, no scatter, no division: nothing whose time depends on the numbers in a vector, or on a dividend.
//! 2. Lengths, counts and addresses are 64 bits wide. A conditional jump may depend on 64-bit general registers. One that
//!    depends on anything narrower stands on a line of source that is listed below, with the reason why that is public.
//! 3. Whatever moves from a vector or a mask to a general register, or to the flags, stands on such a line, too: so no jump and no
//!    address can come of a vector in any other way. (By way of memory it could; that is what the first two rules leave open.)
//!
//! Moves and settings by condition take the same time either way and are not looked at.

use core::fmt;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cargo;

/// What the functions of the kernel are called, and their number at least: fewer are another build than the one meant.
const KERNEL: &str = "wg_aead::arch::avx512::";
const FUNCTIONS: usize = 8;
/// The function that asks the processor what it has.
const DETECTION: &str = "::features::";

/// Pieces of lines that a narrow jump, or what leaves a vector, may stand on, and why.
const PUBLIC: [(&str, &str); 20] = [
    ("for ", "a count"),
    (".len()", "a length"),
    ("is_empty()", "a length"),
    ("len)", "a length"),
    ("shape", "a length in steps"),
    ("message.get(start..)", "a length"),
    ("self.texts", "lengths in blocks"),
    ("direction", "which way it goes"),
    ("summing", "whether a sum is asked for"),
    ("one_key", "whether packets share a key, by its address"),
    ("wide", "whether memory is there already"),
    ("lane_keys", "whether memory is there already"),
    ("self.fill(", "how many blocks are left"),
    ("self.one_each(", "whether packets share a key, by its address"),
    ("packet.text", "a length"),
    ("packet.authentic", "whether a tag is right is the result"),
    ("difference.ct_eq(", "whether a tag is right is the result"),
    ("round", "a count"),
    ("0..=64 =>", "a length"),
    ("Sum::from_little_endian(", "a sum, on its way to memory"),
];

/// What was looked at.
#[derive(Debug, Default)]
pub(super) struct Report {
    functions: usize,
    instructions: usize,
    /// Conditional jumps by line of source.
    jumps: BTreeMap<String, usize>,
    /// Instructions that are excused by a line of [`PUBLIC`].
    excused: usize,
    multiplications: usize,
    wrong: Vec<String>,
}

/// Disassembles a program and checks its kernel.
pub(super) fn check(program: &Path) -> Result<Report, String> {
    let mut dump = Command::new("objdump");
    dump.args(["--disassemble", "--line-numbers", "--inlines", "--demangle", "--no-show-raw-insn"]);
    let mut running = dump
        .arg(program)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("objdump: {error}"))?;
    let mut reader = Reader::new(line_of_source);
    for line in BufReader::new(running.stdout.take().ok_or("objdump: no output")?).split(b'\n') {
        let line = line.map_err(|error| format!("objdump: {error}"))?;
        reader.line(&String::from_utf8_lossy(&line));
    }
    let status = running.wait().map_err(|error| format!("objdump: {error}"))?;
    if !status.success() {
        return Err(format!("objdump: {status}"));
    }
    Ok(reader.report)
}

/// A line of a file of `wg-aead`, given by what stands behind the folder of the crate.
fn line_of_source(file: &str, number: usize) -> Option<String> {
    let source = fs::read_to_string(cargo::root().join("wg-aead").join(file)).ok()?;
    source.lines().nth(number.checked_sub(1)?).map(|line| line.trim().to_owned())
}

impl Report {
    /// Whether all is well, and if not, what is not.
    pub(super) fn verdict(&self) -> Result<(), String> {
        if self.functions < FUNCTIONS || self.multiplications == 0 {
            return Err(format!("that is not the kernel: {self}"));
        }
        if self.wrong.is_empty() { Ok(()) } else { Err(self.wrong.join("\n")) }
    }

    /// The conditional jumps, line by line, for who wants to read them.
    pub(super) fn listing(&self) -> String {
        self.jumps.iter().map(|(line, count)| format!("{count:>4}  {line}\n")).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} functions, {} instructions, {} conditional jumps on {} lines of source, {} excused",
            self.functions,
            self.instructions,
            self.jumps.values().sum::<usize>(),
            self.jumps.len(),
            self.excused
        )
    }
}

/// An instruction that set the flags.
#[derive(Clone)]
struct Setter {
    mnemonic: String,
    operands: String,
    text: String,
}

/// Reads what `objdump` prints, line by line.
struct Reader<S> {
    source: S,
    report: Report,
    /// The function of the kernel that is read.
    function: Option<String>,
    /// Where the instructions that follow come from, the innermost first; and whether one has followed.
    frames: Vec<String>,
    is_used: bool,
    /// What last set the flags, and the text of its line.
    setter: Option<Setter>,
}

impl<S: Fn(&str, usize) -> Option<String>> Reader<S> {
    fn new(source: S) -> Self {
        Self {
            source,
            report: Report::default(),
            function: None,
            frames: Vec::new(),
            is_used: true,
            setter: None,
        }
    }

    fn line(&mut self, line: &str) {
        if let Some((_, name)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            let is_kernel = name.starts_with(KERNEL) && !name.contains(DETECTION);
            self.report.functions += usize::from(is_kernel);
            self.function = is_kernel.then(|| name.to_owned());
            self.setter = None;
        } else if self.function.is_none() || line.trim().is_empty() {
        } else if let Some((address, instruction)) = line.split_once(":\t")
            && let Ok(_) = u64::from_str_radix(address.trim(), 16)
        {
            self.is_used = true;
            let (mnemonic, operands) = parts(instruction);
            self.instruction(mnemonic, operands);
        } else {
            // A place, or a name before one; the first line of a new list of them.
            if core::mem::take(&mut self.is_used) {
                self.frames.clear();
            }
            self.frames.push(line.trim_start_matches("inlined by ").to_owned());
        }
    }

    fn instruction(&mut self, mnemonic: &str, operands: &str) {
        self.report.instructions += 1;
        self.report.multiplications += usize::from(mnemonic.starts_with("vpmadd52"));
        if is_forbidden(mnemonic) {
            self.complain("is never to be", mnemonic, operands);
        }
        if leaves_a_vector(mnemonic, operands) {
            self.must_be_public("leaves a vector", mnemonic, operands, "");
        }
        if sets_flags(mnemonic) {
            let (mnemonic, operands) = (mnemonic.to_owned(), operands.to_owned());
            self.setter = Some(Setter { mnemonic, operands, text: self.text() });
        } else if mnemonic.starts_with("call") {
            self.setter = None;
        } else if mnemonic.starts_with('j') && mnemonic != "jmp" {
            let place =
                self.place().map_or_else(|| "?".to_owned(), |(place, text)| format!("{place}  {text}"));
            *self.report.jumps.entry(place).or_default() += 1;
            match self.setter.clone() {
                Some(Setter { mnemonic, operands, .. }) if is_wide(&mnemonic, &operands) => {}
                // The compiler gives the jump the line of the one or of the other.
                Some(Setter { mnemonic, operands, text }) => {
                    self.must_be_public("is jumped on", &mnemonic, &operands, &text);
                }
                None => self.complain("depends on nothing that is known", mnemonic, operands),
            }
        }
    }

    /// The line of the instruction or `other` is one of those that are listed.
    fn must_be_public(&mut self, what: &str, mnemonic: &str, operands: &str, other: &str) {
        let text = self.text();
        if PUBLIC.iter().any(|(piece, _)| text.contains(piece) || other.contains(piece)) {
            self.report.excused += 1;
        } else {
            self.complain(what, mnemonic, operands);
        }
    }

    fn complain(&mut self, what: &str, mnemonic: &str, operands: &str) {
        let (place, text) = self.place().unwrap_or_default();
        let function = self.function.as_deref().unwrap_or_default();
        self.report.wrong.push(format!("{function}: `{mnemonic} {operands}` {what}, at {place}: {text}"));
    }

    fn text(&self) -> String {
        self.place().map(|(_, text)| text).unwrap_or_default()
    }

    /// The innermost line of the crate that the instruction comes from: where, and its text.
    fn place(&self) -> Option<(String, String)> {
        self.frames.iter().find_map(|frame| {
            let (_, place) = frame.split_once("/wg-aead/")?;
            let place = place.split(' ').next()?;
            let (file, number) = place.split_once(':')?;
            Some((place.to_owned(), (self.source)(file, number.parse().ok()?)?))
        })
    }
}

/// Mnemonic and operands, without prefixes and remarks.
fn parts(instruction: &str) -> (&str, &str) {
    const PREFIXES: [&str; 9] =
        ["{evex}", "{vex}", "data16", "cs", "rep", "repz", "repnz", "lock", "notrack"];
    let mut rest = instruction.trim();
    loop {
        let (word, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if !PREFIXES.contains(&word) {
            let operands = behind.split(['#', '<']).next().unwrap_or_default();
            return (word, operands.trim());
        }
        rest = behind.trim_start();
    }
}

fn is_forbidden(mnemonic: &str) -> bool {
    ["vgather", "vpgather", "vscatter", "vpscatter", "div", "idiv", "vdiv", "vsqrt"]
        .iter()
        .any(|start| mnemonic.starts_with(start))
}

/// Whether something goes from a vector or a mask to a general register or to the flags.
fn leaves_a_vector(mnemonic: &str, operands: &str) -> bool {
    if is_vector_test(mnemonic) {
        return true;
    }
    let moves = ["movd", "movq", "pextr", "movmsk", "pmovmskb"].iter().any(|name| {
        let plain = mnemonic.strip_prefix('v').unwrap_or(mnemonic);
        plain == *name || (plain.starts_with(name) && !name.ends_with(['d', 'q']))
    });
    let to = operands.rsplit(',').next().unwrap_or_default();
    (moves || mnemonic.starts_with("kmov")) && is_general(to) && has_vector(operands)
}

/// Whether the flags tell of a vector or a mask.
fn is_vector_test(mnemonic: &str) -> bool {
    mnemonic.starts_with("kortest")
        || mnemonic.starts_with("ktest")
        || matches!(mnemonic, "ptest" | "vptest")
        || mnemonic.starts_with("vtestp")
        || mnemonic.contains("comis")
}

fn has_vector(operands: &str) -> bool {
    ["%xmm", "%ymm", "%zmm", "%k"].iter().any(|name| operands.contains(name))
}

/// Whether an operand is a general register.
fn is_general(operand: &str) -> bool {
    operand
        .trim()
        .strip_prefix('%')
        .is_some_and(|name| !["xmm", "ymm", "zmm", "k", "mm"].iter().any(|start| name.starts_with(start)))
}

fn sets_flags(mnemonic: &str) -> bool {
    const SETTERS: [&str; 29] = [
        "cmp", "test", "sub", "add", "and", "or", "xor", "dec", "inc", "neg", "shl", "shr", "sar", "sal",
        "sbb", "adc", "bt", "imul", "mul", "popcnt", "tzcnt", "lzcnt", "andn", "bls", "bzhi", "rol", "ror",
        "bsf", "bsr",
    ];
    is_vector_test(mnemonic)
        || SETTERS.iter().any(|name| {
            // With the letter of a width or without.
            mnemonic.strip_prefix(name).is_some_and(|rest| {
                matches!(rest, "" | "b" | "w" | "l" | "q" | "s" | "r" | "c" | "i" | "msk")
            })
        })
}

/// Whether general registers or memory of 64 bits are compared.
fn is_wide(mnemonic: &str, operands: &str) -> bool {
    if is_vector_test(mnemonic) {
        return false;
    }
    // Without what addresses are made of.
    let mut registers = String::new();
    let mut depth = 0_usize;
    for letter in operands.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => registers.push(letter),
            _ => {}
        }
    }
    let mut named = registers.split(',').map(str::trim).filter(|operand| operand.starts_with('%')).peekable();
    match named.peek() {
        // `%r8` is wide, `%r8d` is not; nor is `%eax`.
        Some(_) => named.all(|name| name.starts_with("%r") && !name.ends_with(['d', 'w', 'b'])),
        None => mnemonic.ends_with('q'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of instructions that come from a line.
    fn wrong(text: &str, instructions: &[&str]) -> Vec<String> {
        let mut reader = Reader::new(|_, _| Some(text.to_owned()));
        reader.line("0000000000001000 <wg_aead::arch::avx512::passes::open>:");
        reader.line("core::cmp::Ord::min:");
        reader.line("/rustc/0/library/core/src/cmp.rs:1076");
        reader.line("inlined by /home/me/wg/wg-aead/src/arch/avx512/passes.rs:18 (_ZN7wg_aead)");
        for instruction in instructions {
            reader.line(&format!("    1000:\t{instruction}"));
        }
        reader.report.wrong
    }

    #[test]
    fn lengths_may_be_jumped_on() {
        let secret = "if secret[0] == 1 {";
        assert!(wrong(secret, &["cmp    %rax,0x8(%rsp)", "jne    1234 <x+0x1>"]).is_empty());
        assert!(
            wrong(secret, &["cmpq   $0x1,(%rdi)", "vpaddd %zmm1,%zmm2,%zmm3", "je     1234 <x>"]).is_empty()
        );
        assert!(wrong(secret, &["test   %r10,%r10", "ja     1234 <x>", "je     1234 <x>"]).is_empty());
    }

    #[test]
    fn narrow_numbers_may_be_jumped_on_where_it_is_said() {
        let jump = |line| {
            ["cmp %eax,%ecx", "cmpb $0x0,(%rax)", "test %r8d,%r8d", "testl $0x1,0x8(%rsp)"]
                .map(|setter| wrong(line, &[setter, "je     1234 <x>"]).len())
        };
        assert_eq!(jump("if secret[0] == 1 {"), [1; 4]);
        assert_eq!(jump("if packet.authentic {"), [0; 4]);
    }

    #[test]
    fn vectors_are_neither_jumped_on_nor_taken_apart() {
        for instruction in [
            "vmovq  %xmm0,%rax",
            "vpextrq $0x1,%xmm3,%rax",
            "kmovd  %k0,%r9d",
            "vpmovmskb %ymm0,%eax",
            "kortestw %k0,%k0",
            "vptest %xmm0,%xmm0",
        ] {
            assert_eq!(wrong("let x = secret;", &[instruction]).len(), 1, "{instruction}");
            assert_eq!(wrong("packet.authentic = x;", &[instruction]).len(), 0, "{instruction}");
        }
        for instruction in [
            "vmovq  %rax,%xmm0",
            "kmovq  %rax,%k1",
            "vmovdqu64 0x40(%rsi),%zmm1",
            "vmovq  %xmm0,(%rdi)",
            "vptestmd %zmm2,%zmm2,%k0",
        ] {
            assert!(wrong("let x = secret;", &[instruction]).is_empty(), "{instruction}");
        }
        let jump = wrong("let x = secret;", &["vptest %xmm0,%xmm0", "jne    1234 <x>"]);
        assert_eq!(jump.len(), 2, "{jump:?}");
    }

    #[test]
    fn gathers_scatters_and_divisions_are_found() {
        for instruction in [
            "vpgatherdd (%rax,%zmm1,4),%zmm2{%k1}",
            "{evex} vpscatterqq %zmm1,(%rax,%zmm2,1){%k1}",
            "div    %rcx",
            "idivl  (%rax)",
        ] {
            assert_eq!(wrong("for x in y {", &[instruction]).len(), 1, "{instruction}");
        }
    }

    #[test]
    fn what_set_the_flags_must_be_known() {
        assert_eq!(wrong("for x in y {", &["je     1234 <x>"]).len(), 1);
        assert_eq!(wrong("for x in y {", &["cmp %rax,%rcx", "call 99 <f>", "je     1234 <x>"]).len(), 1);
    }

    #[test]
    fn another_function_is_none_of_ours() {
        let mut reader = Reader::new(|_, _| None);
        reader.line("0000000000001000 <ring::aead::open>:");
        reader.line("    1000:\tdiv    %rcx");
        assert!(reader.report.wrong.is_empty());
        assert!(reader.report.verdict().is_err(), "no kernel was seen");
    }
}
