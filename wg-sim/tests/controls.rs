//! Each invariant can fail: nodes that misbehave, each in its own way, are found out. And what finds them out shrinks.

use core::cell::Cell;
use core::net::SocketAddr;
use std::rc::Rc;

use wg_datapath::{DropReason, Now};
use wg_proto::{Instant, PublicKey, UnixTime};
use wg_sim::{
    Command, Invariant, Node, NodeKind, NodeSpec, Outbox, Profile, Script, Violation, World, run, run_with,
    shrink, standard_node,
};
use wg_tally::allocator;

/// What is wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vice {
    /// Sends a datagram of data twice.
    RepeatsCounter,
    /// Delivers a packet twice.
    DeliversTwice,
    /// Delivers packets with a byte changed.
    Alters,
    /// Delivers packets in another order.
    SwapsOrder,
    /// Holds indices for ever.
    KeepsIndices,
    /// Finds its own tables broken.
    FailsItsCheck,
    /// Sends an initiation again after a second.
    InsistsOnInitiation,
    /// Sends a keepalive 200 s after it was sealed.
    SendsLate,
    /// Answers what it refuses.
    AnswersForgeries,
    /// Takes something in of what it refuses.
    RemembersForgeries,
    /// Takes the peer to be wherever a datagram last came from.
    FollowsAnybody,
    /// Takes the peer to be where a copy came from that was next to the datagram.
    FollowsCopies,
    /// Takes such a copy.
    TakesCopies,
    /// Is due all the time.
    IsAlwaysDue,
    /// Allocates for each datagram.
    Leaks,
    /// Sends no handshake message after a while.
    GivesUpHandshakes,
    /// Panics after a while.
    Panics,
    /// Loses packets of its host.
    SwallowsPackets,
    /// Loses packets of its peer.
    SwallowsDeliveries,
    /// Refuses datagrams for no reason.
    RefusesAtWill,
}

/// A node with a vice.
struct Vicious {
    node: Box<dyn Node>,
    vice: Vice,
    last_from: Option<SocketAddr>,
    initiation: Option<(Now, SocketAddr, Vec<u8>)>,
    held: Option<(Now, SocketAddr, Vec<u8>)>,
    response: Option<(SocketAddr, Vec<u8>)>,
    kept: Option<Vec<u8>>,
    hoard: Vec<Vec<u8>>,
    forged: Instant,
    calls: u32,
}

impl Vicious {
    fn new(vice: Vice, node: Box<dyn Node>) -> Self {
        Self {
            node,
            vice,
            last_from: None,
            initiation: None,
            held: None,
            response: None,
            kept: None,
            hoard: Vec::new(),
            forged: Instant::from_nanos(u64::MAX),
            calls: 0,
        }
    }

    /// Passes on what the node did, not quite as it was.
    fn pass_on(&mut self, done: &Outbox, now: Now, out: &mut Outbox) {
        self.calls += 1;
        assert!(self.vice != Vice::Panics || self.calls < 20, "as planned");
        for (reason, count) in done.drops() {
            out.dropped(reason, count);
        }
        for packet in done.delivered() {
            match self.vice {
                Vice::Alters => {
                    let mut packet = packet.to_vec();
                    *packet.last_mut().unwrap() ^= 1;
                    out.deliver(&packet);
                }
                Vice::DeliversTwice if packet.len() > 1000 => {
                    out.deliver(packet);
                    out.deliver(packet);
                }
                Vice::SwapsOrder => match self.kept.replace(packet.to_vec()) {
                    Some(earlier) => out.deliver(&earlier),
                    None => out.deliver(packet),
                },
                Vice::SwallowsDeliveries => {}
                _ => out.deliver(packet),
            }
        }
        for (to, datagram) in done.sent() {
            let kind = datagram[0];
            if self.vice == Vice::SendsLate && kind == 4 && datagram.len() == 32 && self.held.is_none() {
                self.held = Some((now, to, datagram.to_vec()));
                continue;
            }
            if self.vice == Vice::GivesUpHandshakes && kind != 4 && self.calls > 20 {
                continue;
            }
            out.transmit(to, datagram);
            match kind {
                1 => self.initiation = Some((now, to, datagram.to_vec())),
                2 => self.response = Some((to, datagram.to_vec())),
                4 if self.vice == Vice::RepeatsCounter => out.transmit(to, datagram),
                _ => {}
            }
        }
    }

    /// Does what it should have let be.
    fn be_vicious(&mut self, now: Now, out: &mut Outbox) {
        let since = |then: Now| now.instant.saturating_duration_since(then.instant).as_secs();
        match (self.vice, &self.initiation, &self.held) {
            (Vice::InsistsOnInitiation, Some((at, to, datagram)), _) if (1..5).contains(&since(*at)) => {
                out.transmit(*to, datagram);
            }
            (Vice::SendsLate, _, Some((at, to, datagram))) if since(*at) >= 200 => {
                out.transmit(*to, datagram)
            }
            _ => {}
        }
    }
}

impl Node for Vicious {
    fn datagram(&mut self, datagram: &mut [u8], from: SocketAddr, now: Now, out: &mut Outbox) {
        if self.vice != Vice::FollowsCopies {
            self.last_from = Some(from);
        }
        let data = datagram[0] == 4 && datagram.len() > 32;
        if self.vice == Vice::RefusesAtWill && data {
            return out.dropped(DropReason::InvalidTag, 1);
        }
        if self.vice == Vice::Leaks {
            self.hoard.push(vec![1; 500]);
        }
        let mut done = Outbox::default();
        self.node.datagram(datagram, from, now, &mut done);
        if done.drops().next().is_some() {
            self.forged = now.instant;
            if let (Vice::AnswersForgeries, Some((to, response))) = (self.vice, &self.response) {
                out.transmit(*to, response);
            }
        }
        self.pass_on(&done, now, out);
    }

    fn twins(
        &mut self,
        datagram: &mut [u8],
        from: SocketAddr,
        copy_from: SocketAddr,
        now: Now,
        out: &mut Outbox,
    ) {
        if self.vice == Vice::TakesCopies {
            return self.datagram(datagram, from, now, out);
        }
        let mut done = Outbox::default();
        self.node.twins(datagram, from, copy_from, now, &mut done);
        self.last_from = Some(copy_from);
        self.pass_on(&done, now, out);
    }

    fn packet(&mut self, packet: &[u8], now: Now, out: &mut Outbox) {
        self.be_vicious(now, out);
        if self.vice == Vice::SwallowsPackets {
            return;
        }
        let mut done = Outbox::default();
        self.node.packet(packet, now, &mut done);
        self.pass_on(&done, now, out);
    }

    fn timeout(&mut self, now: Now, out: &mut Outbox) {
        let mut done = Outbox::default();
        self.node.timeout(now, &mut done);
        self.pass_on(&done, now, out);
    }

    fn command(&mut self, command: Command, now: Now, out: &mut Outbox) -> bool {
        let mut done = Outbox::default();
        let known = self.node.command(command, now, &mut done);
        self.pass_on(&done, now, out);
        known
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        match self.vice {
            Vice::IsAlwaysDue => Some(Instant::from_nanos(1)),
            Vice::RemembersForgeries if self.forged != Instant::from_nanos(u64::MAX) => {
                Some(self.forged.saturating_add(core::time::Duration::from_secs(1)))
            }
            _ => self.node.next_timeout(),
        }
    }

    fn endpoint(&mut self, peer: &PublicKey) -> Option<SocketAddr> {
        match self.vice {
            Vice::FollowsAnybody | Vice::FollowsCopies if self.last_from.is_some() => self.last_from,
            _ => self.node.endpoint(peer),
        }
    }

    fn last_handshake(&mut self, peer: &PublicKey) -> Option<UnixTime> {
        self.node.last_handshake(peer)
    }

    fn peers(&mut self) -> usize {
        self.node.peers()
    }

    fn indices(&mut self) -> usize {
        let kept = if self.vice == Vice::KeepsIndices { 4 } else { 0 };
        self.node.indices() + kept
    }

    fn staged(&mut self) -> usize {
        self.node.staged()
    }

    fn check(&self) {
        assert!(self.vice != Vice::FailsItsCheck, "as planned");
        self.node.check();
    }
}

/// Runs a script in which every node has a vice.
fn run_vicious(vice: Vice, script: &Script) -> Result<wg_sim::Report, Violation> {
    run_with(script, &mut |kind: NodeKind, spec: NodeSpec| -> Box<dyn Node> {
        Box::new(Vicious::new(vice, standard_node(kind, spec)))
    })
}

/// Traffic both ways for long enough, and one of everything the adversary does.
fn ordinary() -> Script {
    Script::parse(
        "seed 1\nnodes peer device\nrecord on\nsend 0 1 3 1200\nadvance 2000\nsend 1 0 3 0\nadvance 2000\nsend 0 1 3 0\n\
         replay 3 1\nflip 4 300\nforge 0 junk 3\nforge 1 right-mac1 2\nforge 1 data 2\nstream 1 0 30 1000\n\
         advance 201000\nsend 0 1 2 0\nadvance 3000\nsend 0 1 2 0\nadvance 3000\n",
    )
    .unwrap()
}

#[test]
fn ordinary_script_breaks_nothing_with_nodes_that_behave() {
    let report = run(&ordinary()).unwrap();
    assert!(report.counts.delivered > 30 && report.counts.refusals > 5, "{report}");
}

#[test]
fn every_vice_is_found_out() {
    let vices = [
        (Vice::RepeatsCounter, Invariant::I1),
        (Vice::DeliversTwice, Invariant::I2),
        (Vice::Alters, Invariant::I2),
        (Vice::SwapsOrder, Invariant::I2),
        (Vice::KeepsIndices, Invariant::I3),
        (Vice::FailsItsCheck, Invariant::I3),
        (Vice::InsistsOnInitiation, Invariant::I4),
        (Vice::SendsLate, Invariant::I5),
        (Vice::AnswersForgeries, Invariant::I6),
        (Vice::RemembersForgeries, Invariant::I6),
        (Vice::FollowsAnybody, Invariant::I7),
        (Vice::IsAlwaysDue, Invariant::I8),
        (Vice::GivesUpHandshakes, Invariant::I10),
        (Vice::Panics, Invariant::I11),
        (Vice::SwallowsPackets, Invariant::Accounting),
        (Vice::SwallowsDeliveries, Invariant::Accounting),
        (Vice::RefusesAtWill, Invariant::Accounting),
    ];
    let mut found: Vec<Invariant> = Vec::new();
    for (vice, invariant) in vices {
        let violation = run_vicious(vice, &ordinary()).expect_err("a vice");
        assert_eq!(violation.invariant, invariant, "{vice:?}: {violation}");
        assert_eq!(violation.seed, 1);
        found.push(invariant);
    }
    // The one that is left needs an allocator that counts.
    found.push(Invariant::I9);
    assert!(Invariant::ALL.iter().all(|invariant| found.contains(invariant)));
}

#[test]
fn vices_that_need_two_datagrams_at_once_are_found_out() {
    for nodes in ["peer device", "device peer", "device device", "peer peer"] {
        let script = Script::parse(&format!(
            "seed 1\nnodes {nodes}\nsend 0 1 1 100\nadvance 1000\ntwin 1 2 1\nsend 0 1 3 100\nadvance 1000\n"
        ))
        .unwrap();
        let report = run(&script).unwrap();
        assert_eq!((report.counts.refusals, report.counts.faults_replay), (2, 2), "{report}");
        for (vice, invariant) in [(Vice::FollowsCopies, Invariant::I7), (Vice::TakesCopies, Invariant::I6)] {
            let violation = run_vicious(vice, &script).expect_err("a vice");
            assert_eq!(violation.invariant, invariant, "{vice:?}: {violation}");
        }
    }
}

/// Runs the ordinary script with the memory of nodes bounded.
fn run_bounded(vice: Option<Vice>) -> Result<(), Violation> {
    let script = ordinary();
    let mut factory = |kind: NodeKind, spec: NodeSpec| -> Box<dyn Node> {
        let node = standard_node(kind, spec);
        match vice {
            Some(vice) => Box::new(Vicious::new(vice, node)),
            None => node,
        }
    };
    let mut world = World::new(&script, &mut factory);
    // All buffers that a lane may have: 144 of 64 KiB; beside them little.
    world.bound_memory(allocator::live, 9_700_000);
    for op in &script.ops {
        world.apply(*op)?;
    }
    for round in 0..400_u32 {
        world.apply(wg_sim::Op::Stream {
            from: (round % 2) as u8,
            to: 1 - (round % 2) as u8,
            count: 200,
            micros: 700,
        })?;
    }
    world.finish().map(|_| ())
}

#[test]
fn memory_of_nodes_is_bounded_and_a_leak_is_found_out() {
    run_bounded(None).unwrap();
    let violation = run_bounded(Some(Vice::Leaks)).expect_err("a leak");
    assert_eq!(violation.invariant, Invariant::I9, "{violation}");
}

#[test]
fn failing_scripts_shrink_to_a_handful_of_operations() {
    // Packets of more than a thousand bytes are delivered twice.
    let runs = Rc::new(Cell::new(0));
    let fails = |script: &Script| {
        runs.set(runs.get() + 1);
        run_vicious(Vice::DeliversTwice, script).is_err_and(|violation| violation.invariant == Invariant::I2)
    };
    for seed in 0..5 {
        let script = Script::random(seed, Profile::Everything, 150);
        if !fails(&script) {
            continue;
        }
        let small = shrink(&script, fails);
        assert!(small.ops.len() <= 4, "from {} operations:\n{small}", script.ops.len());
        assert!(fails(&small) && small.nodes.len() == 2, "{small}");
    }
    assert!(runs.get() > 100, "there was something to shrink");
}
