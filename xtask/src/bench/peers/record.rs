//! Where results are kept: `benches/record/<processor>/<date>/`, and the machine that they are of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;

/// The directory for results of today on this machine; made, with the output of `lscpu` beside it.
pub(in crate::bench) fn directory() -> Result<PathBuf, String> {
    let machine = cargo::root().join("benches/record").join(machine());
    let directory = machine.join(said(Command::new("date").arg("-I")));
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let lscpu = machine.join("lscpu.txt");
    if !lscpu.exists() {
        write(&lscpu, &(said(&mut Command::new("lscpu")) + "\n"))?;
    }
    Ok(directory)
}

/// What the figures depend on, in a few words.
pub(in crate::bench) fn machine_and_kernel() -> String {
    let info = cpuinfo();
    let name = field(&info, "model name").unwrap_or("a processor without a name");
    let kernel = said(Command::new("uname").arg("-r"));
    format!("{name} ({}), Linux {kernel}", machine())
}

/// The commit that is measured, with a plus if there is more than it.
pub(in crate::bench) fn commit() -> String {
    let git = |arguments: &[&str]| said(Command::new("git").current_dir(cargo::root()).args(arguments));
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).is_empty();
    git(&["rev-parse", "--short", "HEAD"]) + if changed { "+" } else { "" }
}

/// Writes a file.
pub(in crate::bench) fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The name of this kind of machine, as `amd-epyc-zen4-2vcpu`.
fn machine() -> String {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    name_of(&cpuinfo(), count)
}

fn name_of(info: &str, count: usize) -> String {
    let number = |name: &str| field(info, name).and_then(|value| value.parse().ok()).unwrap_or(0_u32);
    let generation =
        match (field(info, "vendor_id").unwrap_or_default(), number("cpu family"), number("model")) {
            ("AuthenticAMD", 25, 16..=31 | 96..=127 | 160..=175) => "zen4",
            ("AuthenticAMD", 25, _) => "zen3",
            ("AuthenticAMD", 26, _) => "zen5",
            ("GenuineIntel", 6, 106 | 108) => "ice-lake",
            ("GenuineIntel", 6, 143) => "sapphire-rapids",
            ("GenuineIntel", 6, 207) => "emerald-rapids",
            ("GenuineIntel", 6, 173) => "granite-rapids",
            _ => "",
        };
    let model = field(info, "model name")
        .unwrap_or("processor")
        .to_lowercase()
        .replace("(r)", "")
        .replace("(tm)", "");
    let is_guest =
        field(info, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let unit = if is_guest { "vcpu" } else { "cpu" };
    let words = format!("{model} {generation} {count}{unit}");
    let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

fn cpuinfo() -> String {
    fs::read_to_string("/proc/cpuinfo").unwrap_or_default()
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// What a program prints, without the last newline; nothing if it is not there.
fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_named_by_processor_generation_and_size() {
        let info = "vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t\t: fpu hypervisor\n";
        assert_eq!(name_of(info, 2), "amd-epyc-zen4-2vcpu");
        let info = "model name\t: Intel(R) Core(TM) i5-12400\nflags : fpu\n";
        assert_eq!(name_of(info, 12), "intel-core-i5-12400-12cpu");
        assert_eq!(name_of("", 1), "processor-1cpu");
    }
}
