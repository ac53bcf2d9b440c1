//! What is left of a failed test, for whoever has to find out why: what a program was doing, and what the kernel counted around
//! it.

use std::fs;

/// What is worth knowing about a process that runs, a line each: its threads, then the interfaces, sockets and UDP counters of
/// its network namespace.
pub fn report(pid: u32) -> String {
    let mut text = String::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        // State, minor faults and so on up to the times; the policy of the scheduler; where it sleeps.
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or("?");
        let name = read("comm");
        text += &format!(
            "thread {} {}: state {}, {} + {} ticks, policy {}, waits in {}; ran, waited (ns), times: {}\n",
            thread.file_name().display(),
            name.trim_end(),
            field(0),
            field(11),
            field(12),
            field(38),
            read("wchan"),
            read("schedstat").trim_end(),
        );
        text += &read("stack");
    }
    if text.is_empty() {
        return format!("process {pid} does not run\n");
    }
    for table in ["dev", "udp", "udp6", "snmp", "snmp6"] {
        let lines = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        // Of the long ones only what is about UDP.
        let is_long = table.starts_with("snmp");
        for line in lines.lines().filter(|line| !is_long || line.starts_with("Udp")) {
            text += &format!("{table}: {}\n", line.trim_end());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_sockets_and_interfaces_are_told() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let text = report(std::process::id());
        assert!(text.contains(": state R, "), "{text}");
        assert!(text.contains("dev:     lo:"), "{text}");
        assert!(text.contains(&format!(":{:04X} ", socket.local_addr().unwrap().port())), "{text}");
        assert!(text.contains("snmp: Udp: InDatagrams") && text.contains("snmp6: Udp6InDatagrams"), "{text}");
    }

    #[test]
    fn who_is_gone_is_told() {
        assert_eq!(report(0), "process 0 does not run\n");
    }
}
