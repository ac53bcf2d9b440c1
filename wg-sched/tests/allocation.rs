//! Once a crew is made, a batch on its way to another core and back allocates nothing.

use std::sync::Arc;

use wg_sched::handoff::Doorbell;
use wg_sched::{Capacity, CoreId, Crew, Direction, Helper, Homes, Lane, LaneId, Plan};
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
