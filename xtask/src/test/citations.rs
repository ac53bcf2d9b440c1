//! What the documents cite exists: each `path::name` in them is a function of that name in that file.

use std::fs;

use crate::cargo;
use crate::test::Outcome;

/// The documents, and the file that a name without a path is in.
const DOCUMENTS: [(&str, Option<&str>); 3] = [
    ("docs/conformance.md", None),
    ("docs/obligations.md", Some("wg-sim/tests/obligations.rs")),
    ("SECURITY.md", None),
];

/// Runs the stage.
pub(super) fn run() -> Result<Outcome, String> {
    let read = |path: &str| fs::read_to_string(cargo::root().join(path)).ok();
    let mut wrong = Vec::new();
    for (document, default) in DOCUMENTS {
        let text = read(document).ok_or_else(|| format!("no {document}"))?;
        let cited = citations(&text, default);
        println!("{document}: {} citations", cited.len());
        for (path, name) in cited {
            let defined = read(path).is_some_and(|source| defines(&source, name));
            if !defined {
                wrong.push(format!("{document}: {path}::{name}"));
            }
        }
    }
    if wrong.is_empty() { Ok(Outcome::Passed) } else { Err(format!("no such test:\n{}", wrong.join("\n"))) }
}

/// Whether a file has a function of this name.
fn defines(source: &str, name: &str) -> bool {
    ["(", "<"].iter().any(|next| source.contains(&format!("fn {name}{next}")))
}

/// The functions that a document names between backticks, with their files; those without a path, of five words at least,
/// are in `default`.
fn citations<'d>(text: &'d str, default: Option<&'d str>) -> Vec<(&'d str, &'d str)> {
    let mut found = Vec::new();
    for span in text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
        match (span.split_once(".rs::"), default) {
            (Some((path, name)), _) => found.push((&span[..path.len() + 3], name)),
            (None, Some(path)) if is_sentence(span) => found.push((path, span)),
            _ => {}
        }
    }
    found
}

fn is_sentence(name: &str) -> bool {
    name.split('_').count() > 4 && name.chars().all(|letter| letter == '_' || letter.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citations_are_what_stands_between_backticks() {
        let text = "| C1 | `a/b.rs::one_two`<br>`c.rs::three` and `Peer::seal` |\nsee `x.rs`, `is_this_also_a_test`\n";
        assert_eq!(citations(text, None), [("a/b.rs", "one_two"), ("c.rs", "three")]);
        assert_eq!(citations(text, Some("d.rs")).last(), Some(&("d.rs", "is_this_also_a_test")));
        assert!(defines("fn one_two(programs: [Program; 2]) {", "one_two"));
        assert!(!defines("fn one_two_three() {}", "one_two"));
    }
}
