//! What several cores may do to the parts at once: no wake-up is lost, no batch stranded, reordered or delivered twice.
//!
//! Each body runs with real threads some hundred times, and under loom in every order of events, up to two preemptions:
//!
//! ```sh
//! cargo xtask test --only loom
//! ```
//!
//! A lost wake-up is a deadlock there, and an access that nothing orders is found by itself.

extern crate std;

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

#[cfg(loom)]
use loom::{
    sync::{Condvar, Mutex},
    thread,
};
#[cfg(not(loom))]
use std::{
    sync::{Condvar, Mutex},
    thread,
};

use crate::crew::{Capacity, Crew, Homes, Member};
use crate::handoff::{Doorbell, Hands, Offers, OrderTable, Slot, Stream, ring};
use crate::io::Direction;
use crate::sync::AtomicU32;
use crate::topology::{CoreId, Helper, Lane, LaneId, Plan};

#[cfg(loom)]
fn explore(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // LOOM_MAX_PREEMPTIONS asks for more.
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(body);
}

#[cfg(not(loom))]
fn explore(body: impl Fn() + Send + Sync + 'static) {
    let fewer = std::env::var_os("WG_FEWER_CASES").is_some();
    for _ in 0..if fewer { 50 } else { 500 } {
        body();
    }
}

/// What a thread hears: a ring is kept until then.
#[derive(Default)]
struct Ear(Mutex<bool>, Condvar);

impl Ear {
    fn listen(&self) {
        let mut rung = self.0.lock().unwrap();
        while !*rung {
            rung = self.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// A bell, and the ear of who hears it.
fn bell() -> (Arc<Doorbell>, Arc<Ear>) {
    let ear = Arc::new(Ear::default());
    let heard = Arc::clone(&ear);
    let ring = move || {
        *heard.0.lock().unwrap() = true;
        heard.1.notify_one();
    };
    (Arc::new(Doorbell::new(ring)), ear)
}

/// A bell that nobody hears.
fn mute() -> Arc<Doorbell> {
    Arc::new(Doorbell::new(|| {}))
}

/// Takes what `take` finds until it has so many, and sleeps in between.
fn gather<C, T>(
    context: &mut C,
    ear: &Ear,
    count: usize,
    take: impl Fn(&mut C) -> Option<T>,
    may_sleep: impl Fn(&mut C) -> bool,
    awake: impl Fn(&mut C),
) -> Vec<T> {
    let mut all = Vec::new();
    while all.len() < count {
        if let Some(one) = take(context) {
            all.push(one);
        } else if may_sleep(context) {
            ear.listen();
            awake(context);
        }
    }
    all
}

#[test]
fn a_slot_gives_each_item_once() {
    explore(|| {
        let slot = Arc::new(Slot::new());
        let putters = [1_u32, 2].map(|item| {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.put(item).is_ok().then_some(item))
        });
        let mut taken: Vec<u32> = slot.take().into_iter().collect();
        let mut put: Vec<u32> = putters.into_iter().filter_map(|putter| putter.join().unwrap()).collect();
        taken.extend(slot.take());
        taken.sort_unstable();
        put.sort_unstable();
        assert_eq!(taken, put);
        assert!(!put.is_empty(), "one of them finds it empty");
    });
}

#[test]
fn of_two_who_take_one_gets_the_item() {
    explore(|| {
        let slot = Arc::new(Slot::new());
        slot.put(1_u32).unwrap();
        let other = Arc::clone(&slot);
        let taker = thread::spawn(move || other.take());
        let taken = [slot.take(), taker.join().unwrap()];
        assert!(taken == [Some(1), None] || taken == [None, Some(1)], "{taken:?}");
    });
}

#[test]
fn a_slot_is_used_again() {
    explore(|| {
        let slot = Arc::new(Slot::new());
        slot.put(vec![1]).unwrap();
        let other = Arc::clone(&slot);
        let taker = thread::spawn(move || [other.take(), other.take()]);
        let second = slot.put(vec![2]).is_ok();
        let [one, two] = taker.join().unwrap();
        let all: Vec<u32> = [one, two, slot.take()].into_iter().flatten().flatten().collect();
        assert_eq!(all, if second { vec![1, 2] } else { vec![1] });
    });
}

#[test]
fn a_bell_is_rung_for_whoever_sleeps() {
    explore(|| {
        let (given, (bell, ear)) = (Arc::new([AtomicU32::new(0), AtomicU32::new(0)]), bell());
        let givers = [0, 1].map(|at| {
            let (given, bell) = (Arc::clone(&given), Arc::clone(&bell));
            thread::spawn(move || {
                given[at].store(1, Ordering::Relaxed);
                bell.ring_if_asleep();
            })
        });
        let waits = |at: usize| given[at].load(Ordering::Relaxed) == 0;
        loop {
            // What is there was seen, so it sleeps for the other.
            let seen = [!waits(0), !waits(1)];
            if seen == [true; 2] {
                break;
            }
            if bell.may_sleep(|| (0..2).all(|at| seen[at] || waits(at))) {
                ear.listen();
                bell.awake();
            }
        }
        givers.into_iter().for_each(|giver| giver.join().unwrap());
    });
}

#[test]
fn a_ring_keeps_order_and_wakes_its_reader() {
    explore(|| {
        let ((mut producer, consumer), (bell, ear)) = (ring(2), bell());
        let ringer = Arc::clone(&bell);
        let giver = thread::spawn(move || {
            for batch in [1_u32, 2] {
                producer.push(batch).unwrap();
                ringer.ring_if_asleep();
            }
        });
        let mut reader = (consumer, bell);
        let all = gather(
            &mut reader,
            &ear,
            2,
            |(consumer, _)| consumer.pop(),
            |(consumer, bell)| bell.may_sleep(|| consumer.is_empty()),
            |(_, bell)| bell.awake(),
        );
        assert_eq!(all, [1, 2]);
        giver.join().unwrap();
    });
}

#[test]
fn an_offer_is_taken_once_and_by_somebody() {
    explore(|| {
        let offers = Arc::new(Offers::new(2));
        offers.offer(1_u32).unwrap();
        let thieves = [(); 2].map(|()| {
            let offers = Arc::clone(&offers);
            thread::spawn(move || offers.take())
        });
        let mut all = Vec::new();
        for batch in [2, 3] {
            // Without room its home keeps it.
            all.extend(offers.offer(batch).err());
        }
        all.extend(offers.take());
        all.extend(thieves.into_iter().filter_map(|thief| thief.join().unwrap()));
        while let Some(batch) = offers.take() {
            all.push(batch);
        }
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
        assert!(offers.is_empty());
    });
}

const ONE: Stream = Stream { peer: 1, direction: Direction::In };
const TWO: Stream = Stream { peer: 2, direction: Direction::In };

/// A home that sleeps until all of `begun` was drained, which two others complete; those without a number are given up. Gives
/// back what came, stream by stream.
fn drained(begun: [(Stream, Option<u32>, usize); 3]) -> (Vec<u32>, Vec<u32>) {
    let (mut order, (bell, ear)) = (OrderTable::new(3), bell());
    let mut work = [Vec::new(), Vec::new()];
    for (stream, batch, worker) in begun {
        let place = order.begin(stream, 0).unwrap();
        work[worker].push((place, batch));
    }
    let workers = work.map(|work| {
        let (completions, bell) = (Arc::clone(order.completions()), Arc::clone(&bell));
        thread::spawn(move || {
            for (place, batch) in work {
                match batch {
                    Some(batch) => completions.complete(place, batch, Some(&bell)),
                    None => completions.abandon(place, Some(&bell)),
                }
            }
        })
    });
    let count = begun.iter().filter(|(_, batch, _)| batch.is_some()).count();
    let mut home = (order, bell);
    let all = gather(
        &mut home,
        &ear,
        count,
        |(order, _)| order.drain(),
        |(order, bell)| {
            order.publish_heads();
            bell.may_sleep(|| !order.is_ready() && !order.completions().has_head())
        },
        |(_, bell)| bell.awake(),
    );
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert!(home.0.drain().is_none());
    assert_eq!(home.0.pending(), 0);
    let of = |wanted| all.iter().filter(|(stream, _)| *stream == wanted).map(|(_, batch)| *batch).collect();
    (of(ONE), of(TWO))
}

#[test]
fn a_stream_leaves_in_order_whoever_completes_it() {
    explore(|| {
        let (one, two) = drained([(ONE, Some(1), 0), (ONE, Some(2), 1), (TWO, Some(3), 1)]);
        assert_eq!((one, two), (vec![1, 2], vec![3]));
    });
}

#[test]
fn a_stream_leaves_in_order_when_its_last_is_done_first() {
    explore(|| {
        let (one, two) = drained([(ONE, Some(1), 1), (ONE, Some(2), 0), (ONE, Some(3), 0)]);
        assert_eq!((one, two), (vec![1, 2, 3], vec![]));
    });
}

#[test]
fn a_batch_that_was_given_up_holds_nobody_up() {
    explore(|| {
        let (one, two) = drained([(ONE, None, 0), (ONE, Some(2), 1), (TWO, Some(3), 0)]);
        assert_eq!((one, two), (vec![2], vec![3]));
    });
}

/// A lane on core 0, which core 1 helps; each with the bell given for it.
fn pair(homes: Homes, capacity: Capacity, bells: [Arc<Doorbell>; 2]) -> [Member<u32>; 2] {
    let plan = Plan {
        lanes: vec![Lane { id: LaneId(0), core: CoreId(0) }],
        helpers: vec![Helper { core: CoreId(1), lanes: vec![LaneId(0)] }],
    };
    let mut crew = Crew::new(&plan, homes, capacity, |core| Arc::clone(&bells[core.0 as usize]));
    [0, 1].map(|core| crew.take(CoreId(core)).unwrap())
}

/// Runs `help` as a thread, and `with` beside it.
fn beside<T>(
    capacity: Capacity,
    help: impl FnOnce(&mut Member<u32>, &Ear) + Send + 'static,
    with: impl FnOnce(&mut Member<u32>, &Ear) -> T,
) -> (T, Member<u32>) {
    let ((ours, our_ear), (theirs, their_ear)) = (bell(), bell());
    let [mut home, mut member] = pair(Homes::OfLanes, capacity, [ours, theirs]);
    let helper = thread::spawn(move || help(&mut member, &their_ear));
    let result = with(&mut home, &our_ear);
    helper.join().unwrap();
    (result, home)
}

#[test]
fn what_is_pushed_comes_back_in_order() {
    explore(|| {
        let help = |member: &mut Member<u32>, ear: &Ear| {
            for _ in 0..2 {
                let work = gather(member, ear, 1, Member::pop, Member::may_sleep, Member::awake);
                for (ticket, batch) in work {
                    member.complete(ticket, batch + 10);
                }
            }
        };
        let (all, home) = beside(Capacity { places: 2, offers: 1, ring: 2 }, help, |home, ear| {
            for batch in [1, 2] {
                let ticket = home.begin(1, Direction::Out, 0).unwrap();
                home.push(CoreId(1), ticket, batch).unwrap();
            }
            gather(home, ear, 2, Member::drain, Member::may_sleep, Member::awake)
        });
        assert_eq!(all, [(Direction::Out, 11), (Direction::Out, 12)]);
        assert_eq!(home.pending(), 0);
    });
}

#[test]
fn a_call_wakes_a_helper_that_sleeps() {
    explore(|| {
        let help = |member: &mut Member<u32>, ear: &Ear| {
            let work = gather(member, ear, 1, Member::steal, Member::may_sleep, Member::awake);
            for (ticket, batch) in work {
                member.complete(ticket, batch);
            }
        };
        let ((), mut home) = beside(Capacity { places: 1, offers: 1, ring: 1 }, help, |home, _| {
            let ticket = home.begin(1, Direction::Out, 0).unwrap();
            home.offer(ticket, 7).unwrap();
            home.call(1);
        });
        assert_eq!(home.drain(), Some((Direction::Out, 7)));
    });
}

#[test]
fn an_offer_is_stolen_or_taken_back_and_leaves_in_order() {
    explore(|| {
        let ((bell, ear), capacity) = (bell(), Capacity { places: 2, offers: 2, ring: 0 });
        let [mut home, mut helper] = pair(Homes::OfLanes, capacity, [bell, mute()]);
        for batch in [1, 2] {
            let ticket = home.begin(1, Direction::In, 0).unwrap();
            home.offer(ticket, batch).unwrap();
        }
        let thief = thread::spawn(move || {
            if let Some((ticket, batch)) = helper.steal() {
                helper.complete(ticket, batch);
            }
        });
        while let Some((ticket, batch)) = home.reclaim() {
            home.complete(ticket, batch);
        }
        let all = gather(&mut home, &ear, 2, Member::drain, Member::may_sleep, Member::awake);
        assert_eq!(all, [(Direction::In, 1), (Direction::In, 2)]);
        thief.join().unwrap();
    });
}

#[test]
fn a_shared_home_is_drained_by_somebody_before_all_sleep() {
    explore(|| {
        let capacity = Capacity { places: 2, offers: 1, ring: 0 };
        let [mut one, two] = pair(Homes::Shared, capacity, [mute(), mute()]);
        assert!(one.try_acquire());
        let tickets = [0, 1].map(|_| one.begin(1, Direction::In, 0).unwrap());
        one.release();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let workers = [(one, tickets[0], 1), (two, tickets[1], 2)].map(|(mut member, ticket, batch)| {
            let sent = Arc::clone(&sent);
            thread::spawn(move || {
                member.complete(ticket, batch);
                loop {
                    if member.try_acquire() {
                        while let Some((_, batch)) = member.drain() {
                            sent.lock().unwrap().push(batch);
                        }
                        member.release();
                    }
                    if member.may_sleep() {
                        break member;
                    }
                    thread::yield_now();
                }
            })
        });
        let [mut one, _two] = workers.map(|worker| worker.join().unwrap());
        assert_eq!(*sent.lock().unwrap(), [1, 2]);
        assert!(one.try_acquire(), "nobody keeps it");
        assert_eq!(one.pending(), 0);
    });
}

#[test]
fn who_sleeps_for_the_lock_gets_it() {
    explore(|| {
        let capacity = Capacity { places: 1, offers: 1, ring: 0 };
        let ((one, _), (two, ear)) = (bell(), bell());
        let [mut one, mut two] = pair(Homes::Shared, capacity, [one, two]);
        assert!(one.try_acquire());
        let holder = thread::spawn(move || {
            one.release();
            // Somebody else may have it once more before the sleeper does.
            if one.try_acquire() {
                one.release();
            }
        });
        let got = gather(
            &mut two,
            &ear,
            1,
            |two| two.try_acquire().then_some(()),
            Member::may_sleep,
            Member::awake,
        );
        assert_eq!(got.len(), 1);
        holder.join().unwrap();
    });
}

#[test]
fn nothing_slips_past_a_home_that_looks_along_the_way() {
    explore(|| {
        // What waits in the sockets, a bit each. The kernel's locks order no more than who of two takes what.
        let sockets = Arc::new(AtomicU32::new(0b11));
        let hands = Arc::new(Hands::new(1));
        let (mut there, mut here) = ring(2);
        let receiver = {
            let (sockets, hands) = (Arc::clone(&sockets), Arc::clone(&hands));
            thread::spawn(move || {
                for bit in [0b01, 0b10] {
                    hands.receive();
                    sockets.fetch_and(!bit, Ordering::Relaxed);
                    hands.take(0);
                    hands.received();
                    there.push(bit).unwrap();
                    hands.give(0);
                }
            })
        };
        let waits = sockets.load(Ordering::Relaxed);
        if !hands.holds(0) {
            let brought: u32 = core::iter::from_fn(|| here.pop()).sum();
            assert_eq!(waits | brought, 0b11, "what is neither in the sockets nor in a hand was brought");
        }
        receiver.join().unwrap();
        assert_eq!(sockets.load(Ordering::Relaxed), 0);
        assert!(!hands.holds(0));
    });
}
