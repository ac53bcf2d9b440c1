//! Every input that is kept runs through its target: the seeds, the regressions, and what the generator makes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use wg_fuzz::{TARGETS, Target, seeds};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The files of a folder; none if there is no folder, as git keeps no empty one.
fn inputs(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect()
}

/// Tells which input it was when a target panics.
struct Running(PathBuf);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {}", self.0.display());
        }
    }
}

fn run(target: &Target, inputs: Vec<(PathBuf, Vec<u8>)>) {
    for (path, bytes) in inputs {
        let _running = Running(path);
        (target.body)(&bytes);
    }
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

fn replay(name: &str) {
    let target = target(name);
    let seeds = inputs(&folder("seeds").join(name));
    assert!(!seeds.is_empty(), "{name} has no seeds");
    run(target, seeds);
    run(target, inputs(&folder("regressions").join(name)));
    run(
        target,
        seeds::seeds(name)
            .into_iter()
            .enumerate()
            .map(|(number, seed)| (format!("generated seed {number} of {name}").into(), seed))
            .collect(),
    );
}

/// What a patch takes out and what it stands in is in the code as it is now.
fn patch_fits(patch: &Path) {
    let text = fs::read_to_string(patch).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("--- a/")).unwrap();
    let code = fs::read_to_string(folder("..").join(path)).unwrap();
    let mut hunks = text.split("\n@@ ").skip(1).peekable();
    assert!(hunks.peek().is_some(), "{}: no hunk", patch.display());
    for hunk in hunks {
        let before: Vec<&str> =
            hunk.lines().skip(1).filter(|line| !line.starts_with('+')).map(|line| &line[1..]).collect();
        assert!(code.contains(&before.join("\n")), "{}: the code has changed", patch.display());
    }
}

#[test]
fn planted_bugs_fit_the_code_as_it_is() {
    for Target { name, .. } in TARGETS {
        patch_fits(&folder("planted").join(format!("{name}.patch")));
    }
}

/// A test for each target, so that they run side by side and the name tells which failed.
macro_rules! replays {
    ($(fn $name:ident();)+) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )+

        #[test]
        fn every_target_has_its_test_entry_point_and_planted_bug() {
            let tests: BTreeSet<&str> = [$(stringify!($name)),+].into();
            assert_eq!(tests, TARGETS.iter().map(|target| target.name).collect());
            for Target { name, dictionary, .. } in TARGETS {
                assert!(folder("fuzz_targets").join(format!("{name}.rs")).is_file(), "{name}: entry point");
                assert!(folder("planted").join(format!("{name}.patch")).is_file(), "{name}: planted bug");
                if let Some(dictionary) = dictionary {
                    let path = folder("dictionaries").join(format!("{dictionary}.dict"));
                    assert!(path.is_file(), "{name}: dictionary {dictionary}");
                }
            }
            for kept in ["seeds", "regressions"] {
                for (path, _) in fs::read_dir(folder(kept)).into_iter().flatten().map(|e| (e.unwrap().path(), ())) {
                    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                    assert!(tests.contains(&*name), "{kept}/{name} belongs to no target");
                }
            }
        }
    };
}

replays! {
    fn aead();
    fn allowed_ips();
    fn cmsg();
    fn conf_file();
    fn cookie_reply();
    fn device_datagrams();
    fn frame_header();
    fn icmp();
    fn initiator();
    fn ip_header();
    fn netlink();
    fn padding_trim();
    fn rehome();
    fn replay_window();
    fn responder();
    fn scheduler();
    fn segment();
    fn two_peers();
    fn uapi_stream();
    fn wire_parse();
}
