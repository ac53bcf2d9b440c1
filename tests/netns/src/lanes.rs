//! Gateways of several lanes, and what is to arrive while they change how lanes share the work.

use core::net::SocketAddr;
use core::time::Duration;

use crate::key::Key;
use crate::udp::{Account, Flow};
use crate::{Family, Launch, Node, Pair, Program, uapi, wait};

/// Packets a second, each way: what gateways built without optimisation move on a processor that others use, too.
const RATE: u32 = 2000;
/// How long a stream, or a reply, may take that is there at once where nobody waits for a processor.
const PATIENCE: Duration = Duration::from_secs(6);

/// A gateway with so many lanes.
pub fn lanes(count: usize) -> Launch {
    with(&["--threads", &count.to_string()])
}

/// A gateway with these arguments.
pub fn with(arguments: &[&str]) -> Launch {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Launch { arguments, ..Launch::from(Program::Gateway) }
}

/// Two nodes of as many lanes, where the other is the last of so many peers of each: its home is the one of that number.
///
/// # Panics
///
/// When a step fails.
#[track_caller]
pub fn acquainted_at(lane_counts: [usize; 2], home: usize) -> Pair {
    let pair = Pair::new(lane_counts.map(lanes));
    for node in [&pair.a, &pair.b] {
        add_strangers(node, home);
    }
    pair.acquaint(Family::V4);
    pair
}

/// Adds so many peers that there are not: each new peer is at home in the next lane.
///
/// # Panics
///
/// When `wg` fails.
#[track_caller]
pub fn add_strangers(node: &Node, count: usize) {
    (0..count).for_each(|_| node.tunnel.set(&format!("peer {}", Key::random())));
}

/// Has a gateway take up a strategy.
///
/// # Panics
///
/// When it refuses.
#[track_caller]
pub fn follow(node: &Node, strategy: &str) {
    let answer = uapi::set(node.interface(), &format!("strategy={strategy}\n"));
    assert_eq!(answer.expect("an answer"), 0, "{strategy}");
}

/// Sees that either node is reached from the other, with both protocols.
///
/// # Panics
///
/// When one is not.
#[track_caller]
pub fn assert_exchange(pair: &Pair) {
    for inside in Family::BOTH {
        assert!(pair.a.reaches_within(PATIENCE, &pair.b, inside));
        assert!(pair.b.reaches(&pair.a, inside));
    }
}

/// A stream of numbered packets each way, those from `a` long and those from `b` short.
#[derive(Debug)]
pub struct Streams {
    there: Flow,
    back: Flow,
}

impl Streams {
    /// Starts both, each with so many packets a second.
    ///
    /// # Panics
    ///
    /// When an address cannot be bound.
    #[track_caller]
    pub fn start(pair: &Pair, rate: u32) -> Self {
        let to = |node: &Node, port| SocketAddr::new(node.inner(Family::V4), port);
        let there = Flow::start(&pair.a.namespace, &pair.b.namespace, to(&pair.b, 4001), rate, 1000);
        let back = Flow::start(&pair.b.namespace, &pair.a.namespace, to(&pair.a, 4002), rate, 200);
        Self { there, back }
    }

    /// Waits until both have brought some more.
    ///
    /// # Panics
    ///
    /// When one does not.
    #[track_caller]
    pub fn goes_on(&self, when: &str) {
        let marks = (self.there.received(), self.back.received());
        let came = || self.there.received() > marks.0 + 400 && self.back.received() > marks.1 + 400;
        assert!(wait::until(PATIENCE, came), "{when}");
    }

    /// Ends both, and tells what became of them: from `a`, and from `b`.
    ///
    /// # Panics
    ///
    /// When a thread of theirs panicked.
    #[track_caller]
    pub fn finish(self) -> [Account; 2] {
        [self.there.finish(), self.back.finish()]
    }
}

/// Streams both ways while both sides take up the strategies of a list, a few times.
///
/// # Panics
///
/// When a strategy is refused, or a stream stands still.
#[track_caller]
pub fn exchange_under(pair: &Pair, strategies: &[&str], rounds: usize) -> [Account; 2] {
    let streams = Streams::start(pair, RATE);
    for name in strategies.iter().cycle().take(rounds * strategies.len()) {
        [&pair.a, &pair.b].into_iter().for_each(|node| follow(node, name));
        streams.goes_on(name);
    }
    streams.finish()
}

/// Sees that all of two streams arrived, though over several lanes on a machine that may be busy.
///
/// # Panics
///
/// When it did not.
#[track_caller]
pub fn assert_arrived_split(pair: &Pair, accounts: &[Account; 2]) {
    let ways = [(&pair.a, &pair.b), (&pair.b, &pair.a)];
    for ((from, to), account) in ways.into_iter().zip(accounts) {
        assert_one_arrived_split(account, from, to);
    }
}

/// The same for what came from a node to another.
///
/// # Panics
///
/// When it did not arrive.
#[track_caller]
pub fn assert_one_arrived_split(account: &Account, from: &Node, to: &Node) {
    // A thread that waits for a processor for more than half a millisecond is not waited for. In order whoever waits is
    // `wg-datapath/tests/lanes/split.rs`.
    assert!(account.reordered * 20 <= account.received, "{account:?}");
    // Where it is the home that waits, the others have no place for what they receive; and what stands too long before a tunnel is
    // dropped. Both are counted.
    let dropped = [to.dropped().get("home_behind").copied(), from.dropped().get("queue_delay").copied()];
    let dropped = dropped.into_iter().flatten().sum();
    let but_for_order = Account { reordered: 0, ..account.clone() };
    assert!(but_for_order.is_perfect_but_for(dropped), "{dropped} dropped: {account:?}");
}

/// How many datagrams each lane of a gateway received so far.
///
/// # Panics
///
/// When it does not tell.
#[track_caller]
pub fn received(node: &Node) -> Vec<u64> {
    let status = uapi::request(node.interface(), "get=1\n\n").expect("an answer");
    let lines = status.lines().filter_map(|line| line.strip_prefix("lane_received="));
    let count = |(lane, line): (usize, &str)| {
        let count = line.strip_prefix(&format!("{lane} ")).expect("lanes in their order");
        count.parse().expect("a number")
    };
    lines.enumerate().map(count).collect()
}

/// How many each lane received since then.
///
/// # Panics
///
/// When the gateway does not tell.
#[track_caller]
pub fn received_since(node: &Node, before: &[u64]) -> Vec<u64> {
    received(node).into_iter().zip(before).map(|(after, before)| after - before).collect()
}
