//! Which processors there are for this process, and what they share: nodes, caches, and the threads of one core (SMT).
//!
//! Of `/sys/devices/system`, which shows all of the machine also to a container, and is missing in some:
//!
//! | file | says | without it |
//! |---|---|---|
//! | `cpu/online` | which processors run | those that the thread may run on, see `affinity`, do |
//! | `node/online`, `node/nodeN/cpulist` | the NUMA nodes, and their processors | there is one node |
//! | `cpu/cpuN/topology/core_cpus_list`, before Linux 5.3 `thread_siblings_list` | SMT siblings | there are none |
//! | `cpu/cpuN/cache/indexN/{type,level,shared_cpu_list}` | caches; the last level is the highest that holds data | the next row |
//! | `cpu/cpuN/topology/cluster_cpus_list` | processors close to each other | it shares no cache |
//!
//! A file whose content makes no sense counts as missing.

mod cpu_list;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use wg_sched::{Core, CoreId, NodeId, Topology};

use crate::{Error, affinity};
use cpu_list::CpuList;

/// Where the kernel shows them.
const ROOT: &str = "/sys/devices/system";
/// The most that is read of a file: much more than any of them has.
const MAX_FILE: u64 = 1 << 16;
/// The most nodes, which is the most that the kernel can be built for.
const MAX_NODES: usize = 1024;
/// The most caches of one processor, with those for instructions.
const MAX_CACHES: u32 = 16;

/// Finds the processors that the calling thread may run on, and what they share.
///
/// # Errors
///
/// As [`affinity::processors`]. What the kernel does not show is no error.
pub fn probe() -> Result<Topology, Error> {
    Ok(parse(|name| read(&Path::new(ROOT).join(name)), &affinity::processors()?))
}

/// Reads the topology of the processors `allowed`, in the order of their numbers, from files that `file` gives the content of;
/// names are relative to `/sys/devices/system`.
///
/// A cache and a physical core have the number of the first processor that the kernel names for them, be it allowed or not.
#[must_use]
pub fn parse(file: impl Fn(&str) -> Option<String>, allowed: &[u32]) -> Topology {
    let list = |name: &str| CpuList::parse(&file(name)?);
    let mut numbers = allowed.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    if let Some(online) = list("cpu/online")
        && numbers.iter().any(|&number| online.contains(number))
    {
        numbers.retain(|&number| online.contains(number));
    }
    let nodes = nodes(&list);
    let lone_node = nodes.first().map_or(NodeId(0), |(node, _)| *node);
    let (mut caches, mut physical) = (Groups::default(), Groups::default());
    let core = |number| Core {
        id: CoreId(number),
        node: nodes.iter().find(|(_, cpus)| cpus.contains(number)).map_or(lone_node, |(node, _)| *node),
        cache: caches.of(number, || last_cache(&file, &list, number)),
        physical: physical.of(number, || {
            ["core_cpus_list", "thread_siblings_list"]
                .iter()
                .find_map(|name| list(&format!("cpu/cpu{number}/topology/{name}")))
        }),
    };
    Topology { cores: numbers.into_iter().map(core).collect() }
}

/// The nodes that have processors. One of memory only is of no use here.
fn nodes(list: &impl Fn(&str) -> Option<CpuList>) -> Vec<(NodeId, CpuList)> {
    let online = list("node/online").unwrap_or_default();
    let with_processors = |number| {
        let cpus = list(&format!("node/node{number}/cpulist"))?;
        cpus.first().map(|_| (NodeId(number), cpus))
    };
    online.iter().take(MAX_NODES).filter_map(with_processors).collect()
}

/// The processors that share the last cache of one, or are close to it.
fn last_cache(
    file: &impl Fn(&str) -> Option<String>,
    list: &impl Fn(&str) -> Option<CpuList>,
    number: u32,
) -> Option<CpuList> {
    let cache = |index| {
        let name = |of| format!("cpu/cpu{number}/cache/index{index}/{of}");
        let level: u32 = file(&name("level"))?.trim().parse().ok()?;
        let holds_data = file(&name("type")).is_none_or(|kind| kind.trim() != "Instruction");
        let cpus = list(&name("shared_cpu_list")).filter(|cpus| cpus.contains(number));
        cpus.filter(|_| holds_data).map(|cpus| (level, cpus))
    };
    let last = (0..MAX_CACHES).filter_map(cache).max_by_key(|(level, _)| *level);
    last.map(|(_, cpus)| cpus).or_else(|| list(&format!("cpu/cpu{number}/topology/cluster_cpus_list")))
}

/// Processors that belong together, each in one group: whoever is in the group of another has no files of its own read.
#[derive(Default)]
struct Groups(Vec<CpuList>);

impl Groups {
    /// The first of the group of a processor, which is alone if `list` does not name it.
    fn of(&mut self, number: u32, list: impl FnOnce() -> Option<CpuList>) -> u32 {
        let known = self.0.iter().find(|group| group.contains(number)).and_then(CpuList::first);
        if let Some(first) = known {
            return first;
        }
        let Some(group) = list().filter(|group| group.contains(number)) else { return number };
        let first = group.first().unwrap_or(number);
        self.0.push(group);
        first
    }
}

/// The content of a file, unless it is longer than it can be.
fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let len = File::open(path).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    (len as u64 != MAX_FILE).then_some(text)
}
