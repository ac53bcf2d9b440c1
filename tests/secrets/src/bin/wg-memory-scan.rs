//! Takes two sides through everything that has keys, and looks after each stage for keys that should be gone.
//!
//! `wg-memory-scan` runs all scenarios and is told by its exit code; `wg-memory-scan learn NAME` is the process in which the
//! secrets are known.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

use wg_aead::Backend;
use wg_proto::aead::{RingAead, RustCryptoAead};
use wg_proto::dh::AwsLcDh;
use wg_secrets::batches::{self, Batches, Step};
use wg_secrets::learn;
use wg_secrets::masked::{Kind, Masked};
use wg_secrets::scan::{Found, Place, Scanner};
use wg_secrets::scenario::{Devices, Peers, Scenario, Stage};
use wg_secrets::worker::Worker;

type Run = fn(&str) -> Result<Vec<String>, String>;
type Learn = fn() -> Result<Vec<Masked>, String>;

/// Every way to run: its name, who looks and who learns.
const RUNS: [(&str, Run, Learn); 5] = [
    ("peers-rustcrypto", run::<Peers<RustCryptoAead>>, learn::secrets_of::<Peers<RustCryptoAead>>),
    ("peers-ring", run::<Peers<RingAead>>, learn::secrets_of::<Peers<RingAead>>),
    ("devices-rustcrypto", run::<Devices<RustCryptoAead>>, learn::secrets_of::<Devices<RustCryptoAead>>),
    ("devices-ring", run::<Devices<RingAead>>, learn::secrets_of::<Devices<RingAead>>),
    ("devices-aws-lc", run::<Devices<RingAead, AwsLcDh>>, learn::secrets_of::<Devices<RingAead, AwsLcDh>>),
];

/// What the names of backends follow, for batches by them.
const BATCHES: &str = "batches-";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        [] => run_all(),
        ["learn", name] => teach(name),
        ["run", name] => run_one(name),
        _ => Err("usage: wg-memory-scan [run NAME | learn NAME]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Each in a process of its own: none sees what another left.
fn run_all() -> Result<(), String> {
    let mut failed = Vec::new();
    // What the libraries leave behind is theirs; the kernels are ours.
    let kernels =
        Backend::available().map(Backend::name).filter(|name| !["ring", "rustcrypto"].contains(name));
    let names = RUNS.iter().map(|(name, ..)| (*name).to_owned());
    for name in names.chain(kernels.map(|name| format!("{BATCHES}{name}"))) {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let status = Command::new(own).args(["run", &name]).status().map_err(|error| error.to_string())?;
        if !status.success() {
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn find(name: &str) -> Result<(Run, Learn), String> {
    if name.starts_with(BATCHES) {
        return Ok((run_batches, || Ok(batches::secrets())));
    }
    let found = RUNS.iter().find(|(known, ..)| *known == name);
    found.map(|(_, run, learn)| (*run, *learn)).ok_or_else(|| format!("no run is called {name}"))
}

fn teach(name: &str) -> Result<(), String> {
    for secret in find(name)?.1()? {
        println!("{secret}");
    }
    Ok(())
}

fn run_one(name: &str) -> Result<(), String> {
    let complaints = find(name)?.0(name)?;
    let stages = if name.starts_with(BATCHES) { Step::all().len() } else { Stage::ALL.len() };
    println!("{name}: {stages} stages, {}", if complaints.is_empty() { "clean" } else { "NOT clean" });
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
}

/// Has another process learn the secrets of a run.
fn learned(name: &str) -> Result<Vec<Masked>, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(own).args(["learn", name]).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    text.lines().map(|line| Masked::parse(line).ok_or_else(|| format!("not understood: {line}"))).collect()
}

fn run<S: Scenario>(name: &str) -> Result<Vec<String>, String> {
    let secrets = learned(name)?;
    println!("{name}: {} secrets", secrets.len());
    let mut scanner = Scanner::new(secrets);
    let worker = Worker::start(|| S::make(false), |scenario: &mut S, number| scenario.go(Stage::ALL[number]));
    let mut complaints = Vec::new();
    for (number, stage) in Stage::ALL.into_iter().enumerate() {
        worker.step(number)?;
        let found = scanner.scan(worker.stack()).map_err(|error| error.to_string())?;
        judge(stage, worker.stack(), &found, &mut complaints);
    }
    worker.end()?;
    Ok(complaints)
}

fn run_batches(name: &str) -> Result<Vec<String>, String> {
    let secrets = learned(name)?;
    println!("{name}: {} secrets", secrets.len());
    let mut scanner = Scanner::new(secrets);
    let kernel = name.strip_prefix(BATCHES).unwrap_or_default();
    let backend = Backend::available().find(|backend| backend.name() == kernel);
    let backend = backend.ok_or_else(|| format!("{kernel} is not a backend of this machine"))?.pure();
    let worker = Worker::start(
        move || Batches::make(backend),
        |batches: &mut Batches, number| batches.go(Step::all()[number]),
    );
    let mut complaints = Vec::new();
    for (number, step) in Step::all().into_iter().enumerate() {
        worker.step(number)?;
        let found = scanner.scan(worker.stack()).map_err(|error| error.to_string())?;
        judge_batches(step, worker.stack(), &found, &mut complaints);
    }
    worker.end()?;
    Ok(complaints)
}

/// The keys are on the heap and the texts are; all else is gone, but where it was left to see that it is found.
fn judge_batches(step: Step, stack: usize, found: &[Found], complaints: &mut Vec<String>) {
    let is = |one: &Found, kind, place| one.kind == kind && one.place == place;
    let mut grouped: BTreeMap<(Place, Kind, String), usize> = BTreeMap::new();
    for one in found {
        let in_use = is(one, Kind::Transport, Place::Heap) || is(one, Kind::Plaintext, Place::Heap);
        if !in_use && step != Step::Left {
            let deep = stack.wrapping_sub(one.address);
            let what = format!("{}, {} bytes from {}, {deep} bytes deep", one.name, one.length, one.start);
            *grouped.entry((one.place, one.kind, what)).or_default() += 1;
        }
    }
    complaints.extend(
        grouped.iter().map(|((place, kind, what), count)| {
            format!("{step:?}: {place:?}: {kind:?}: {what}, {count} times")
        }),
    );
    let mut must = vec![(Kind::Transport, Place::Heap), (Kind::Plaintext, Place::Heap)];
    if step == Step::Left {
        must.extend([(Kind::Keystream, Place::Stack), (Kind::OneTimeKey, Place::Stack)]);
    }
    for (kind, place) in must {
        if !found.iter().any(|one| is(one, kind, place)) {
            complaints.push(format!("{step:?}: no {kind:?} is found, though it is there: the scan is blind"));
        }
    }
}

/// What is found where it may not be, and what is not found where it must be.
fn judge(stage: Stage, stack: usize, found: &[Found], complaints: &mut Vec<String>) {
    let mut grouped: BTreeMap<(Place, Kind, String), usize> = BTreeMap::new();
    // The ciphers leave the key of a packet on the stack; once the session is gone it may not be there any more.
    let allowed =
        |one: &&Found| stage.may_hold(one.kind) && (one.place == Place::Heap || one.kind == Kind::Transport);
    for one in found.iter().filter(|one| !allowed(one)) {
        let deep = stack.wrapping_sub(one.address);
        let deep = if one.place == Place::Stack { format!(", {deep} bytes deep") } else { String::new() };
        let what = format!("{} ({:?}), {} bytes from {}{deep}", one.name, one.form, one.length, one.start);
        *grouped.entry((one.place, one.kind, what)).or_default() += 1;
    }
    complaints.extend(grouped.iter().map(|((place, kind, what), count)| {
        format!("{stage:?}: {place:?}: {kind:?}: {what}, {count} times")
    }));
    for kind in Kind::ALL.into_iter().filter(|kind| stage.must_hold(*kind)) {
        if !found.iter().any(|one| one.kind == kind && one.place == Place::Heap) {
            complaints
                .push(format!("{stage:?}: no {kind:?} is found, though it is in use: the scan is blind"));
        }
    }
}
