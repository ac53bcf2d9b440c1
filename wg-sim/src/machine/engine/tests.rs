use super::super::cost::Costs;
use super::super::kernel::Context;
use super::super::setup::{Contender, topology};
use super::*;
use crate::machine::Calibration;
use wg_sched::{CoreIo as _, StrategyKind};

const COSTS: Costs = Calibration::Modern.costs();

fn setup(contender: Contender, cores: u32, tunnels: u32) -> Setup {
    Setup::new(topology(cores, 1), COSTS, contender, tunnels)
}

fn batch(peer: u32) -> Batch {
    Batch { peer, flow: 0, number: 1, counter: 0, end: 1, lane: 0, packets: 1, bytes: 1000, core: 0 }
}

#[test]
fn every_queue_keeps_its_bound() {
    for kind in StrategyKind::ALL {
        let mut setup = setup(Contender::shipped(*kind), 2, 2);
        // More than the rings have places for, and a NIC that is never empty.
        (setup.tickets, setup.ring, setup.shared_queues) = (8 * 64, 1000, true);
        setup.load = Load::Constant { rate: 4_000_000 };
        let mut machine = Machine::new(&setup);
        let mut most = 0;
        for _ in 0..2000 {
            machine.run_for(1000);
            let state = &machine.state;
            let ring = state.seats.iter().map(|seat| seat.ring.len()).max().unwrap_or(0);
            most = most.max(ring);
            for home in &state.homes {
                assert!(home.queued <= setup.ring, "{kind}: {} of the NIC", home.queued);
                assert!(home.offers.len() <= OFFERS, "{kind}: {} offers", home.offers.len());
            }
        }
        assert!(most <= RING, "{kind}: {most} in a ring");
        assert!(
            most == RING || *kind != StrategyKind::PipelinedNoOverlap,
            "{kind}: only {most}, it shows nothing"
        );
    }
}

#[test]
fn a_peer_goes_to_the_less_busy_of_two_lanes() {
    let to = (1..=60).filter_map(|seed| {
        let contender = Contender::shipped(StrategyKind::Inline);
        let mut state = Machine::new(&Setup { seed, converged: true, ..setup(contender, 3, 2) }).state;
        for (seat, percent) in state.seats.iter_mut().zip([99, 50, 10]) {
            seat.busy = PERIOD * percent / 100;
        }
        // Nearly all of the first is one peer, for which there is no room; the other may go to either lane.
        state.lanes[0].periods = 2;
        (state.peers[0].period, state.peers[1].period) = (100, 10);
        state.look(1_000_000_000);
        state.peers.iter().map(|peer| peer.home).find(|home| *home != 0)
    });
    let to: Vec<usize> = to.collect();
    let least = to.iter().filter(|lane| **lane == 2).count();
    assert_eq!(to.len(), 60, "one moves: {to:?}");
    // Three of four pairs have it.
    assert!((36..60).contains(&least), "{least}: {to:?}");
}

#[test]
fn a_batch_is_sent_from_when_it_is_done_and_where() {
    let kernel = Contender::SOFTIRQ;
    for contender in [Contender::shipped(StrategyKind::Adaptive), kernel] {
        let mut state = Machine::new(&setup(contender, 2, 1)).state;
        let home = state.peers[0].home;
        let core = state.homes[home].core;
        let place = state.homes[home].order.begin(0).expect("it is empty");
        assert!(state.homes[home].complete(place, batch(0), 5000), "it is the head");
        if contender == kernel {
            state.seats[core].context = Some(Context::Drain(0));
        }
        for (clock, drained) in [(4999, false), (5000, true)] {
            state.seats[core].clock = clock;
            assert_eq!(View::new(&mut state, core).drain().is_some(), drained, "{contender:?} at {clock}");
        }
    }
    for (contender, head, raised) in [
        (kernel, true, true),
        (kernel, false, true),
        (Contender::THREADED, true, true),
        (Contender::THREADED, false, false),
    ] {
        let mut state = Machine::new(&setup(contender, 4, 4)).state;
        for core in 0..4 {
            let at = state.raise(core, core, head);
            assert_eq!(at.is_some(), raised, "a thread is woken for the head only");
            assert!(contender != kernel || at == Some(core), "a softirq is raised where it was done");
        }
    }
}

#[test]
fn a_softirq_drain_is_cheap_on_the_core_that_received() {
    let costs = Calibration::Paper.costs();
    let [own, other] = costs.forward.expect("the paper's machine has it");
    let threaded = costs.drain.packet + costs.send.packet;
    let cases = [
        (Contender::SOFTIRQ, 0, own),
        (Contender::SOFTIRQ, 1, other),
        (Contender::THREADED, 0, threaded),
        (Contender::THREADED, 1, threaded),
    ];
    for (contender, drains, expected) in cases {
        let mut state = Machine::new(&Setup { costs, ..setup(contender, 2, 1) }).state;
        let home = state.peers[0].home;
        assert_eq!(state.homes[home].core, 0);
        let place = state.homes[home].order.begin(0).expect("it is empty");
        state.homes[home].complete(place, Batch { core: drains, ..batch(0) }, 0);
        state.peers[0].inside = 1;
        state.seats[drains].context = Some(Context::Drain(0));
        let mut view = View::new(&mut state, drains);
        let (_, batch) = view.drain().expect("it is done");
        view.send_tun(batch);
        assert_eq!(state.seats[drains].clock, expected, "{contender:?} on core {drains}");
    }
}

#[test]
fn so_many_tunnels_are_on_a_node_before_the_next_has_any() {
    for (block, nodes) in [(1, [0, 1, 0, 1, 0, 1]), (2, [0, 0, 1, 1, 0, 0])] {
        let setup = Setup { topology: topology(8, 2), block, ..setup(Contender::NUMA_SOFTIRQ, 8, 6) };
        let state = Machine::new(&setup).state;
        let node = |peer: &Peer| state.seats[state.homes[peer.home].core].core.node.0;
        assert_eq!(state.peers.iter().map(node).collect::<Vec<_>>(), nodes);
    }
}

#[test]
fn what_was_split_is_merged_from_when_it_is_home() {
    let mut state = Machine::new(&setup(Contender::shipped(StrategyKind::CounterSplit), 2, 1)).state;
    let home = state.peers[0].home;
    let core = state.homes[home].core;
    let brought = batch(0);
    assert!(state.split.take(brought.lane, home));
    state.split.bring(5000, home, brought);
    for (clock, merged) in [(4999, false), (5000, true)] {
        state.seats[core].clock = clock;
        assert_eq!(View::new(&mut state, core).merge().is_some(), merged, "at {clock}");
    }
}

#[test]
fn the_last_batch_of_a_tunnel_is_filled_before_another_begins() {
    let mut state = Machine::new(&setup(Contender::shipped(StrategyKind::Inline), 1, 2)).state;
    let batches = |state: &State| -> Vec<(u32, u32)> {
        state.homes[0].queue.iter().map(|(_, batch)| (batch.peer, batch.packets)).collect()
    };
    state.arrive(0, 10, 0, 0);
    state.arrive(1, 4, 0, 0);
    state.arrive(0, 10, 10, 0);
    assert_eq!(batches(&state), [(0, 16), (1, 4), (0, 4)], "whatever came in between");
    assert_eq!(state.homes[0].queue[2].1.counter, 16);
    for at in 0..5 {
        state.arrive(1, 16, 4 + 16 * at, 0);
    }
    assert_eq!(state.homes[0].queue[1].1.packets, 16);
    state.arrive(0, 5, 20, 0);
    let last = batches(&state).pop();
    assert_eq!(last, Some((0, 5)), "a poll of the NIC does not reach as far: {:?}", batches(&state));
}

#[test]
fn a_helper_that_sleeps_before_a_call_is_woken_by_it() {
    let contender = Contender::shipped(StrategyKind::Adaptive);
    for (sleeps, woken) in [(100, true), (1_000_000, false)] {
        let mut state = Machine::new(&setup(contender, 4, 1)).state;
        // The home works for a while, and then calls two. All but the last are awake when it begins.
        state.seats[..3].iter_mut().for_each(|seat| seat.asleep = false);
        let mut home = View::new(&mut state, 0);
        home.crypt(&mut [batch(0)]);
        home.call(2);
        let ends = state.seats[0].clock;
        let called = ends - COSTS.ipi;
        assert!(called > 100 && state.seats[3].called(), "who sleeps already is woken at once");
        for helper in [1, 2] {
            (state.seats[helper].clock, state.seats[helper].asleep) = (sleeps, true);
            state.called_by(helper);
        }
        // Two were called, so of two that sleep by then it is one; and who looks later sees what is there.
        let expected = woken.then_some(ends + COSTS.wake);
        assert_eq!([1, 2].map(|helper| state.seats[helper].scheduled), [expected, None]);
        assert_eq!(state.seats[0].clock, ends + if woken { COSTS.ipi } else { 0 });
    }
}
