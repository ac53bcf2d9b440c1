//! The ways to panic that are left in the protocol, held against the list in `docs/panics.md`, which has a proof for each.
//!
//! Looked at is a program that holds the packet functions and nothing else, optimised as far as it goes: what the optimiser
//! finds impossible is gone. What is left are calls of `core::panicking`, direct or by a helper in `core`; each is named by
//! the place in the source that is not `core`'s own, which the debug information knows also after inlining.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{binutils, read};

/// The list.
const LIST: &str = "docs/panics.md";

/// Where a call stands and what it calls.
type Place = (String, String);

/// Compares what is found with the list.
pub(super) fn check(program: &Path) -> Result<(), String> {
    let found = find(program)?;
    let listed = listed(&read(LIST)?);
    let mut faults = Vec::new();
    for (at, what) in found.difference(&listed) {
        faults.push(format!("new: `{at}` | `{what}`"));
    }
    for (at, what) in listed.difference(&found) {
        faults.push(format!("gone: `{at}` | `{what}`"));
    }
    for (at, what) in &found {
        println!("may panic, with a proof that it does not: {at}, by {what}");
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(format!("{LIST} is not what is there: {}", faults.join("; ")))
    }
}

/// The rows of the table: the first two columns, in code quotes.
fn listed(text: &str) -> BTreeSet<Place> {
    let row = |line: &str| {
        let mut columns = line.strip_prefix("| `")?.split(" | ");
        let mut next = || Some(columns.next()?.trim_matches('`').to_owned());
        Some((next()?, next()?))
    };
    text.lines().filter_map(row).collect()
}

/// The calls that may panic.
fn find(program: &Path) -> Result<BTreeSet<Place>, String> {
    let names: BTreeMap<String, String> =
        binutils::symbols(program)?.into_iter().map(|symbol| (symbol.mangled, symbol.name)).collect();
    let name = |mangled: &str| names.get(mangled).cloned().unwrap_or_else(|| mangled.to_owned());
    let calls = calls(&binutils::disassembly(program)?);
    if calls.len() < 100 {
        return Err(format!("only {} calls were found in the probe", calls.len()));
    }
    let mut places = BTreeSet::new();
    let mut done = BTreeSet::new();
    let mut open: Vec<String> =
        calls.iter().map(|call| &call.callee).filter(|callee| panics(&name(callee))).cloned().collect();
    if open.is_empty() {
        return Err("no call of a panicking function: a probe that cannot find one proves nothing".into());
    }
    while let Some(callee) = open.pop() {
        if !done.insert(callee.clone()) {
            continue;
        }
        for call in calls.iter().filter(|call| call.callee == callee) {
            let frames = binutils::frames(program, &call.address)?;
            match frames.iter().find(|(_, file)| !is_core(file)) {
                Some((function, file)) => {
                    let at = format!("{} {}", short(file), plain(function));
                    places.insert((at, plain(&name(&callee))));
                }
                // A helper of `core`: whoever calls it is looked at in its turn.
                None => open.push(call.caller.clone()),
            }
        }
    }
    let taken = binutils::taken_addresses(program)?;
    if taken.is_empty() {
        return Err("the probe was linked without --emit-relocs".into());
    }
    match taken.iter().find(|symbol| done.contains(*symbol)) {
        Some(symbol) => {
            Err(format!("{} may be called by its address, which no list can cover", name(symbol)))
        }
        None => Ok(places),
    }
}

/// Whether a function is where panics begin or end.
fn panics(name: &str) -> bool {
    name.starts_with("core::panicking::") || name.contains("rust_begin_unwind")
}

/// A branch from one function into another.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    address: String,
    caller: String,
    callee: String,
}

/// Reads the branches out of a disassembly: calls and jumps alike.
fn calls(disassembly: &str) -> Vec<Call> {
    let mut caller = "";
    let mut calls = Vec::new();
    for line in disassembly.lines() {
        if let Some(name) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            caller = name.1;
        } else if let Some((address, instruction)) = line.split_once(":\t")
            && let Some((_, target)) = instruction.rsplit_once('<')
            && let Some(target) = target.strip_suffix('>')
        {
            let callee = target.split('+').next().unwrap_or(target);
            if callee != caller {
                let (caller, callee) = (caller.to_owned(), callee.to_owned());
                calls.push(Call { address: format!("0x{}", address.trim()), caller, callee });
            }
        }
    }
    calls
}

fn is_core(file: &str) -> bool {
    file.contains("/library/core/") || file.starts_with("??")
}

/// `crate-version/src/file.rs:line`, or the path in the workspace, without the folders that differ between machines.
fn short(file: &str) -> String {
    // Behind the line may stand which of several pieces of it this is.
    let file = file.split(" (").next().unwrap_or(file);
    let parts: Vec<&str> = file.split('/').collect();
    let start = parts.iter().rposition(|part| *part == "src").unwrap_or(0).saturating_sub(1);
    parts[start..].join("/")
}

/// A name without the arguments of its generic parameters, which make it long and say nothing.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0_usize;
    // The brackets of `<Type>::method` are no arguments.
    for part in name.trim_start_matches('<').split_inclusive(['<', '>']) {
        if depth == 0 {
            plain.push_str(part.trim_end_matches(['<', '>']).trim_end_matches("::"));
        }
        depth = if part.ends_with('<') {
            depth + 1
        } else {
            depth.saturating_sub(usize::from(part.ends_with('>')))
        };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_between_functions_are_found() {
        let text = "\n00008000 <_RNv_panic>:\n    8000:\tpush\t{r7, lr}\n    8002:\tb.n\t8002 <_RNv_panic+0x2>\n\n\
                    00008010 <_RNv_user>:\n    8010:\tbl\t8000 <_RNv_panic>\n    8014:\tbeq.w\t8000 <_RNv_panic>\n    \
                    8018:\tldr\tr0, [pc, #4]\t@ (8020 <_RNv_user+0x10>)\n    801c:\tb.w\t8004 <_RNv_panic+0x4>\n";
        let found = calls(text);
        let addresses: Vec<&str> = found.iter().map(|call| call.address.as_str()).collect();
        assert_eq!(addresses, ["0x8010", "0x8014", "0x801c"]);
        assert!(found.iter().all(|call| call.caller == "_RNv_user" && call.callee == "_RNv_panic"));
    }

    #[test]
    fn rows_of_the_list_are_read() {
        let text = "# Panics\n\n| where | what | why not |\n|---|---|---|\n| `a-1.0/src/b.rs:7 a::f` | `core::x` | proof |\n";
        assert_eq!(
            listed(text),
            BTreeSet::from([("a-1.0/src/b.rs:7 a::f".to_owned(), "core::x".to_owned())])
        );
    }

    #[test]
    fn places_are_the_same_on_every_machine() {
        assert_eq!(
            short("/home/me/.cargo/registry/src/x/cipher-0.5.2/src/stream.rs:174"),
            "cipher-0.5.2/src/stream.rs:174"
        );
        assert_eq!(
            short("/w/wg-proto/src/noise/symmetric.rs:83 (discriminator 2)"),
            "wg-proto/src/noise/symmetric.rs:83"
        );
        assert_eq!(plain("<curve::Scalar>::bits_le::{closure#0}"), "curve::Scalar::bits_le::{closure#0}");
        assert_eq!(plain("<a::B<c::D<e>> as f::G>::h::<i>"), "a::B as f::G::h");
        assert_eq!(plain("core::result::unwrap_failed"), "core::result::unwrap_failed");
    }
}
