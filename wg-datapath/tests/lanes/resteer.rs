//! Others receive for a home while its counters are split: more of them, fewer, and at last nobody.

use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_datapath::proto::UnixTime;
use wg_datapath::sched::{Budget, StrategyKind};

use crate::rig::Rig;
use crate::split::{delivered, send};

#[test]
fn others_may_be_named_while_a_split_goes_on_and_a_home_alone_be_split() {
    let mut rig = Rig::new(4, 4);
    rig.connect();
    let mut sent = 0;
    let first = rig.hub.home(1);
    let others: Vec<_> = (0..4).filter(|lane| *lane != first).collect();
    // One home by one lane; by the others, and a second home; all by all.
    let second = |home: usize| match home {
        home if home == first => others[1..].to_vec(),
        home if home == others[0] => vec![others[2]],
        _ => Vec::new(),
    };
    let lists: [Vec<Vec<usize>>; 3] = [
        (0..4).map(|home| if home == first { vec![others[0]] } else { Vec::new() }).collect(),
        (0..4).map(second).collect(),
        (0..4).map(|home| (0..4).filter(|lane| *lane != home).collect()).collect(),
    ];
    for names in lists.iter().cycle().take(6) {
        let now = rig.now;
        rig.wire.name_receivers(&names.iter().map(Vec::as_slice).collect::<Vec<_>>());
        rig.hub.split(&rig.wire, now);
        let came = |rig: &Rig| -> Vec<usize> {
            rig.hub.members.iter().map(|member| member.socket.received + member.socket.waiting()).collect()
        };
        let before = came(&rig);
        for peer in 1..=4 {
            send(&mut rig, peer, sent..sent + 200);
        }
        sent += 200;
        for (lane, (after, before)) in came(&rig).into_iter().zip(before).enumerate() {
            let receives = (0..4)
                .any(|home| if names[home].is_empty() { home == lane } else { names[home].contains(&lane) });
            assert_eq!(after > before, receives, "{lane} of {names:?}");
        }
        // Some of it is under way when it changes.
        for lane in [first, others[1], first, others[2], others[0], first] {
            rig.hub.members[lane].step_within(now, Budget { batches: 4, packets: 256 });
        }
        rig.hub.join(&rig.wire, StrategyKind::Adaptive);
    }
    rig.settle();
    assert!(rig.hub.end_split(rig.now));
    assert!(rig.hub.members.iter().all(|member| member.device.foreign_sessions() == 0));
    for peer in 1..=4 {
        assert_eq!(delivered(&mut rig, peer), (0..sent).collect::<Vec<_>>());
    }
    assert_eq!(rig.hub.drops(), 0);
}

#[test]
fn a_split_is_widened_and_narrowed_and_ended_with_sessions_that_are_renewed_and_loses_nothing() {
    for seed in 0..20 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut rig = Rig::new(4, 4);
        rig.connect();
        let mut sent = 0;
        let sessions =
            |rig: &mut Rig| [1, 2, 3, 4].map(|peer| rig.peer(peer).members[0].socket.last()[4..8].to_vec());
        // So many of the others receive for each home, from a random one on.
        for (round, count) in [1, 3, 1, 2, 1, 3].into_iter().enumerate() {
            let from = rng.next_u32() as usize;
            let lists: Vec<Vec<usize>> = (0..4)
                .map(|home| (0..count).map(|step| (home + 1 + (from + step) % 3) % 4).collect())
                .collect();
            rig.wire.name_receivers(&lists.iter().map(Vec::as_slice).collect::<Vec<_>>());
            rig.hub.split(&rig.wire, rig.now);
            let mut some = |rig: &mut Rig, count: u32, turns: usize| {
                for peer in 1..=4 {
                    send(rig, peer, sent..sent + count);
                }
                sent += count;
                for turn in 0..turns {
                    let lane = if turn < 4 { turn } else { rng.next_u32() as usize % 4 };
                    let budget = Budget { batches: 1 + rng.next_u32() % 4, packets: 128 };
                    rig.hub.members[lane].step_within(rig.now, budget);
                }
            };
            some(&mut rig, 40, 12);
            if round % 2 == 1 {
                // With the next packet a peer asks for another session; what follows goes with the old one until it has it. Nothing is under
                // way, as none of it would be waited for that long.
                rig.settle();
                rig.now.instant = rig.now.instant.saturating_add(Duration::from_secs(121));
                rig.now.wall = UnixTime::new(rig.now.wall.secs() + 121, 0);
                let old = sessions(&mut rig);
                (0..10).for_each(|_| some(&mut rig, 40, 12));
                let new = sessions(&mut rig);
                assert!(new.iter().zip(&old).all(|(new, old)| new != old), "{seed} {round}");
            }
            // Much of it is under way when it changes.
            some(&mut rig, 150, 2);
        }
        let known = |rig: &Rig| -> usize {
            rig.hub.members.iter().map(|member| member.device.foreign_sessions()).sum()
        };
        assert!(known(&rig) >= 4 * 3, "each new session at each who receives: {}", known(&rig));
        rig.hub.join(&rig.wire, StrategyKind::Adaptive);
        rig.settle();
        assert!(rig.hub.end_split(rig.now), "all have come home");
        assert_eq!(known(&rig), 0);
        for peer in 1..=4 {
            send(&mut rig, peer, sent..sent + 50);
        }
        rig.settle();
        for peer in 1..=4 {
            assert_eq!(delivered(&mut rig, peer), (0..sent + 50).collect::<Vec<_>>(), "{seed}");
        }
        assert_eq!(rig.hub.drops(), 0, "{seed}");
    }
}
