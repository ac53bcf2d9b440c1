//! Once a crew is made, a batch on its way to another core and back allocates nothing.

use std::sync::Arc;

use wg_sched::handoff::Doorbell;
use wg_sched::{Capacity, CoreId, Crew, Direction, Helper, Homes, Lane, LaneId, Plan, SharedMerge, Span};
use wg_tally::allocator;

#[test]
fn a_batch_allocates_nothing_between_cores() {
    let plan = Plan {
        lanes: vec![Lane { id: LaneId(0), core: CoreId(0) }],
        helpers: vec![Helper { core: CoreId(1), lanes: vec![LaneId(0)] }],
    };
    let bell = |_| Arc::new(Doorbell::new(|| {}));
    let mut crew = Crew::new(&plan, Homes::OfLanes, Capacity::default(), bell);
    let (mut home, mut helper) = (crew.take(CoreId(0)).unwrap(), crew.take(CoreId(1)).unwrap());
    let before = (allocator::calls(), allocator::live());
    let mut drained = 0;
    // Ever new streams, and as many under way as there may be.
    for number in 0..10_000_u32 {
        while home.room() == 0 {
            while let Some((ticket, batch)) =
                helper.pop().or_else(|| helper.steal()).or_else(|| home.reclaim())
            {
                helper.complete(ticket, batch);
            }
            drained += core::iter::from_fn(|| home.drain()).count();
        }
        let ticket = home.begin(number / 3, Direction::Out, 0).unwrap();
        let kept = home.push(CoreId(1), ticket, number).or_else(|(ticket, batch)| home.offer(ticket, batch));
        if let Err((ticket, batch)) = kept {
            home.complete(ticket, batch);
        }
        home.call(1);
    }
    assert_eq!((allocator::calls(), allocator::live()), before);
    assert!(drained > 9_000);
}

#[test]
fn a_crew_takes_as_much_as_it_says_and_no_more_when_it_is_full() {
    let lane = |number| Lane { id: LaneId(number), core: CoreId(number) };
    let bell = Arc::new(Doorbell::new(|| {}));
    for (lanes, cores) in [(1, 1), (1, 8), (4, 4), (2, 16)] {
        let ids: Vec<_> = (0..lanes).map(LaneId).collect();
        let plan = Plan {
            lanes: (0..lanes).map(lane).collect(),
            helpers: (0..cores).map(|core| Helper { core: CoreId(core), lanes: ids.clone() }).collect(),
        };
        for capacity in [Capacity::default(), Capacity { places: 96, offers: 64, ring: 32 }] {
            let before = allocator::live();
            let crew = Crew::<[usize; 2]>::new(&plan, Homes::OfLanes, capacity, |_| Arc::clone(&bell));
            let mut members: Vec<_> = crew.into_members().collect();
            // Its own record of members is gone, and this one is not counted.
            let lists = members.capacity() * size_of_val(&members[0]);
            for member in &mut members {
                while member.room() > 0 {
                    let ticket = member.begin(member.room(), Direction::In, 0).unwrap();
                    let pushed = (0..cores).try_fold((ticket, [0; 2]), |(ticket, batch), core| match member
                        .push(CoreId(core), ticket, batch)
                    {
                        Ok(()) => Err(()),
                        Err(back) => Ok(back),
                    });
                    if let Ok((ticket, batch)) = pushed
                        && let Err((ticket, batch)) = member.offer(ticket, batch)
                    {
                        member.complete(ticket, batch);
                    }
                }
            }
            let taken = usize::try_from(allocator::live() - before).unwrap();
            let says: usize = members.iter().map(wg_sched::Member::memory_bytes).sum();
            // Said is the record of each member, too.
            let taken = taken - lists + members.len() * size_of_val(&members[0]);
            assert!(taken <= says && says <= taken + taken / 5, "{lanes} of {cores}: {taken} of {says}");
        }
    }
}

#[test]
fn a_merge_takes_what_it_says_and_allocates_nothing_later() {
    for (lanes, depth) in [(1, 1), (3, 64), (64, 64)] {
        let before = allocator::live();
        let mut merge = SharedMerge::<[u64; 2]>::new(lanes, depth);
        let taken = usize::try_from(allocator::live() - before).unwrap();
        assert!(taken <= SharedMerge::<[u64; 2]>::memory_bytes(lanes, depth), "{lanes} {depth} {taken}");
        let calls = allocator::calls();
        for peer in 0..100_000 {
            let span = Span { keypair: 0, first: peer, last: peer };
            while merge.push(0, peer, span, [0; 2]).is_err() {
                merge.pop_over_gap(0, &[]).expect("nobody brings more");
            }
        }
        assert_eq!(allocator::calls(), calls);
    }
}
