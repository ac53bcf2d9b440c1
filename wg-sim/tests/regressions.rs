//! Scripts that failed once, kept and run again: `tests/regressions/*.script`.

use std::fs;
use std::path::Path;

use wg_sim::{Script, run};

#[test]
fn what_failed_once_does_not_fail_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let mut scripts: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "script"))
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 2, "{scripts:?}");
    for path in scripts {
        let script = Script::parse(&fs::read_to_string(&path).unwrap());
        let script = script.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Err(violation) = run(&script) {
            panic!("{}: {violation}", path.display());
        }
    }
}
