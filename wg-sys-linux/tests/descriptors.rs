//! Too few descriptors: what cannot be made leaves nothing behind. The limit is of the process, so these tests have one of their own.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wg_sys_linux::UapiSocket;

#[test]
fn a_configuration_socket_that_cannot_be_had_leaves_no_file() {
    let directory = std::env::temp_dir().join(format!("wg-sys-descriptors-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let before = getrlimit(Resource::Nofile);
    let next = u64::try_from(File::open("/dev/null").unwrap().as_raw_fd()).unwrap();
    let mut failed = 0;
    loop {
        setrlimit(Resource::Nofile, Rlimit { current: Some(next + failed), ..before }).unwrap();
        let made = UapiSocket::bind_in(&directory, "wg0").map(drop);
        setrlimit(Resource::Nofile, before).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "with {failed} descriptors: {made:?}");
        if made.is_ok() {
            break;
        }
        failed += 1;
    }
    fs::remove_dir(&directory).unwrap();
    // The socket and what watches its file.
    assert!(failed >= 2, "{failed}");
}
