//! What `/proc` says about a running program.

use core::time::Duration;
use std::fs;
use std::io;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Resident memory of `pid` in KiB, if it runs.
pub fn resident_kib(pid: u32) -> Option<u64> {
    status_field(pid, "VmRSS:")
}

/// The most resident memory `pid` ever had, in KiB, if it runs.
pub fn peak_resident_kib(pid: u32) -> Option<u64> {
    status_field(pid, "VmHWM:")
}

/// Address space of `pid` in KiB, resident or not, if it runs.
pub fn virtual_kib(pid: u32) -> Option<u64> {
    status_field(pid, "VmSize:")
}

/// Processor time that `pid` has used, user and system, if it runs.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, but its closing bracket is the last one; then state is field 3, utime 14, stime 15.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)))
}

/// The numbers of the schedulers that the threads of `pid` are under: 0 the fair one, 2 real-time in turns. Empty if it does not run.
pub fn policies(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    // As above; the policy is field 41.
    stats.filter_map(|stat| stat.rsplit(')').next()?.split_whitespace().nth(38)?.parse().ok()).collect()
}

/// Lets this thread, and what it starts from now on, run on `cpu` alone. Without one, or on a machine without it, nothing
/// changes.
pub fn pin_thread(cpu: Option<usize>) {
    let Some(cpu) = cpu.filter(|cpu| *cpu < CpuSet::MAX_CPU) else { return };
    let mut set = CpuSet::new();
    set.set(cpu);
    // Refused only where there is no such processor, or it is not ours to use: the figures then tell.
    sched_setaffinity(None, &set).ok();
}

/// The processors that this process may run on.
pub fn processors() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Lets all threads that `pid` has, and those they start, run on `cpu` alone.
///
/// # Errors
///
/// It does not run, or there is no such processor.
pub fn pin(pid: u32, cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let id = thread?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        sched_setaffinity(Some(id.ok_or(io::ErrorKind::InvalidData)?), &set)?;
    }
    Ok(())
}

/// TCP segments sent so far in the network namespace of `pid`, if it runs. Those that leave in one piece count for each.
pub fn tcp_segments_sent(pid: u32) -> Option<u64> {
    let snmp = fs::read_to_string(format!("/proc/{pid}/net/snmp")).ok()?;
    // A line of names, and a line of values.
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let at = lines.next()?.split_whitespace().position(|name| name == "OutSegs")?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

/// Datagrams that found no room at the sockets of `port` in the network namespace of `pid`, if it runs.
pub fn datagrams_without_room(pid: u32, port: u16) -> Option<u64> {
    let mut lost = 0;
    for table in ["udp", "udp6"] {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()?;
        // A line of names; then the local address is field 2, its port in hexadecimal behind the colon, and drops come last.
        for line in table.lines().skip(1) {
            let local = line.split_whitespace().nth(1).and_then(|local| local.rsplit(':').next());
            if local.and_then(|local| u16::from_str_radix(local, 16).ok()) == Some(port) {
                lost += line.split_whitespace().last().and_then(|drops| drops.parse::<u64>().ok())?;
            }
        }
    }
    Some(lost)
}

/// How many files `pid` has open, if it runs.
pub fn open_files(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

fn status_field(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_has_memory_and_files() {
        let pid = std::process::id();
        assert!(resident_kib(pid).unwrap() > 100);
        assert!(policies(pid).contains(&0));
        assert!(peak_resident_kib(pid).unwrap() >= resident_kib(pid).unwrap() / 2);
        assert!(open_files(pid).unwrap() >= 3);
        assert!(cpu_time(pid).is_some());
    }

    #[test]
    fn segments_of_the_own_namespace_are_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let before = tcp_segments_sent(std::process::id()).unwrap();
        drop(std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        assert!(tcp_segments_sent(std::process::id()).unwrap() >= before + 3, "SYN, SYN-ACK, ACK");
    }

    #[test]
    fn datagrams_without_room_are_counted_by_port() {
        let full = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = full.local_addr().unwrap();
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&full, 1).unwrap();
        (0..100).for_each(|_| assert_eq!(other.send_to(&[0; 1000], address).unwrap(), 1000));
        full.set_nonblocking(true).unwrap();
        let held = (0..).take_while(|_| full.recv(&mut [0; 1000]).is_ok()).count() as u64;
        assert!(held < 100);
        assert_eq!(datagrams_without_room(std::process::id(), address.port()), Some(100 - held));
        let port = other.local_addr().unwrap().port();
        assert_eq!(datagrams_without_room(std::process::id(), port), Some(0));
    }

    #[test]
    fn all_threads_of_a_process_are_pinned() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let last = *processors().last().unwrap();
        let pinned = pin(child.id(), last);
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        pinned.unwrap();
        assert!(status.contains(&format!("\nCpus_allowed_list:\t{last}\n")), "{status}");
    }

    #[test]
    fn nobody_has_pid_zero() {
        assert_eq!(resident_kib(0), None);
        assert_eq!(cpu_time(0), None);
        assert_eq!(datagrams_without_room(0, 0), None);
    }
}
