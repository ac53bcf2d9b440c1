//! The memory of a gateway in bulk: no more than its bounds say, and a constant.

use core::net::SocketAddr;

use wg_datapath::{Config, Lane, MultiBufferAead};
use wg_netns::tcp::{self, Limit};
use wg_netns::{Family, Launch, Namespace, Pair, Program, Tunnel, process, requirements};

/// What a process has beside devices and lanes: the program and its libraries, stacks, what the clients of the UAPI ask for.
const PROGRAM_KIB: u64 = 12 << 10;

#[test]
fn a_gateway_in_bulk_stays_under_its_bound() {
    // R5
    if !requirements::can_run() {
        return;
    }
    let pair = Pair::acquainted([Program::Gateway; 2], Family::V4);
    for (from, to) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        let address = SocketAddr::new(to.inner(Family::V4), 4000);
        let limit = Limit::Bytes(64 << 20);
        let report = tcp::transfer(&from.namespace, &to.namespace, address, limit, |_, _| {}).unwrap();
        assert!(report.intact, "{report:?}");
    }
    // One peer with one prefix of each family; and a lane with its tables for each processor, at most.
    let config = Config { max_peers: 1, max_allowed_ips: 2, ..Config::default() };
    let lane = Lane::<MultiBufferAead>::new().max_memory();
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    let bound = (lanes * (config.max_memory::<MultiBufferAead>() + lane)) as u64 / 1024 + PROGRAM_KIB;
    for node in [&pair.a, &pair.b] {
        let peak = process::peak_resident_kib(node.tunnel.pid()).unwrap();
        println!("at most {peak} KiB were resident, of {bound}");
        assert!(peak <= bound, "{peak} KiB of {bound}");
    }
}

/// Lanes through which nothing went take little of the system, although most of what they are is buffers.
#[test]
fn buffers_that_no_packet_reached_are_not_resident() {
    // Other C libraries than glibc are not asked for it.
    if !requirements::can_run() || cfg!(not(target_env = "gnu")) {
        return;
    }
    const MORE: u64 = 4;
    let namespace = Namespace::new();
    let resident = |threads: u64| {
        let arguments = vec!["--threads".to_owned(), threads.to_string()];
        let tunnel = Tunnel::start(Launch { arguments, ..Launch::from(Program::Gateway) }, &namespace);
        process::resident_kib(tunnel.pid()).unwrap()
    };
    let (one, several) = (resident(1), resident(1 + MORE));
    let each = several.saturating_sub(one) / MORE;
    println!("{one} KiB with one lane, {each} more for each other");
    // The buffers that are there from the start alone are ten times a mebibyte.
    assert!(each < 5 << 10, "{each} KiB");
}
