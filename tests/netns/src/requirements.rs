//! What the harness needs from the machine, and what to do when it is not there.

use std::io::Write as _;
use std::path::Path;

/// Set by a caller for whom a skipped test is a failed one.
pub const REQUIRED_VARIABLE: &str = "WG_NETNS_REQUIRED";

/// What is missing on this machine, each with the way to get it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    missing: Vec<String>,
}

impl Requirements {
    /// Looks for what every use needs: root, `/dev/net/tun`, `ip`.
    pub fn check() -> Self {
        let mut requirements = Self::default();
        if !rustix::process::geteuid().is_root() {
            requirements.missing.push("root (for namespaces and TUN devices): run it with sudo".into());
        }
        if !Path::new("/dev/net/tun").exists() {
            requirements.missing.push(
                "/dev/net/tun: `modprobe tun`, or `mkdir -p /dev/net && mknod /dev/net/tun c 10 200`".into(),
            );
        }
        requirements.and_program("ip", "iproute2")
    }

    /// Looks for one more program, which the Debian package `package` holds.
    #[must_use]
    pub fn and_program(mut self, program: &str, package: &str) -> Self {
        if find_program(program).is_none() {
            self.missing.push(format!("{program}: `apt-get install {package}`"));
        }
        self
    }

    /// The missing things, empty if all is there.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Tells a test whether to go on; if not, prints why, past the output capture of the test runner.
    ///
    /// # Panics
    ///
    /// When something is missing and [`REQUIRED_VARIABLE`] is set.
    #[track_caller]
    pub fn met(&self) -> bool {
        if self.missing.is_empty() {
            return true;
        }
        let missing = self.missing.join("; ");
        assert!(std::env::var_os(REQUIRED_VARIABLE).is_none(), "this test could not run, missing: {missing}");
        writeln!(std::io::stderr(), "SKIPPED: namespace test, missing: {missing}").ok();
        false
    }
}

/// Whether a test may run here: everything for namespaces, `wg`, `ping` and `wireguard-go`.
///
/// # Panics
///
/// When it may not and [`REQUIRED_VARIABLE`] is set.
#[track_caller]
pub fn can_run() -> bool {
    Requirements::check()
        .and_program("wg", "wireguard-tools")
        .and_program("ping", "iputils-ping")
        .and_program("wireguard-go", "wireguard-go")
        .met()
}

/// The path of `program`, looked up as a shell of root would.
pub fn find_program(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin:/usr/bin:/bin";
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}
