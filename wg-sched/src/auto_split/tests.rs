extern crate std;

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::topology::NodeId;

const PERIOD: u64 = 50_000_000;

/// A machine of lanes, `node` of them on each node: what peers want of it, and what it gets done.
struct Model {
    lanes: Vec<LaneLoad>,
    /// By peer: its home, and what it wants to bring, in thousandths of what a home gets done by itself.
    peers: Vec<(usize, u64)>,
    /// What a split home gets done, in percent of what it does else, where lanes that are not heavy receive, and where all do; and what
    /// others do then.
    gain: u64,
    wide: u64,
    others: u64,
    /// A lane that does more for others the less it has to do itself.
    helper: Option<usize>,
    disorder: u32,
    waited: u32,
    rule: AutoSplit,
    now: u64,
}

impl Model {
    fn new(lanes: usize, node: usize, peers: &[(usize, u64)]) -> Self {
        let node = |lane| NodeId(u32::try_from(lane / node).unwrap());
        Self {
            lanes: (0..lanes).map(|lane| LaneLoad::idle(node(lane))).collect(),
            peers: peers.to_vec(),
            gain: 200,
            wide: 200,
            others: 100,
            helper: None,
            disorder: 0,
            waited: 0,
            rule: AutoSplit::new(PERIOD),
            now: 0,
        }
    }

    /// A period goes by.
    fn period(&mut self) -> Option<Change> {
        self.period_as(true, 100)
    }

    /// One in which so much of a hundred of the work is for what peers send.
    fn period_as(&mut self, is_level: bool, received: u64) -> Option<Change> {
        let split = self.rule.homes().to_vec();
        let mut flows = Vec::new();
        let gain = if self.rule.is_wide { self.wide } else { self.gain };
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            let wanted: u64 = self.peers.iter().filter(|(home, _)| *home == at).map(|(_, want)| want).sum();
            let most = match () {
                () if split.contains(&at) => 1000 * gain / 100,
                () if split.is_empty() => 1000,
                () => 1000 * self.others / 100,
            };
            let done = wanted.min(most);
            let busy = u32::try_from(done * 1000 / most).unwrap();
            lane.observe(if self.helper == Some(at) { 1000 } else { busy });
            for (home, want) in self.peers.iter().filter(|(home, _)| *home == at) {
                let all = want * done / wanted.max(1);
                let share = u32::try_from(u64::from(busy) * all * received / done.max(1) / 100).unwrap();
                flows.push(PeerFlow { home: *home, received: all * received / 100, all, share });
            }
        }
        self.now += PERIOD;
        let signs = Signs { is_level, disorder: self.disorder, waited: self.waited };
        self.rule.look(&self.lanes, &flows, signs, self.now)
    }

    /// The changes of so many periods, with the number of the period.
    fn run(&mut self, periods: u32) -> Vec<(u32, Change)> {
        (1..=periods).filter_map(|period| Some((period, self.period()?))).collect()
    }
}

#[test]
fn one_large_tunnel_is_split_after_five_periods_and_stays_so_if_more_comes_in() {
    let mut model = Model::new(4, 4, &[(1, 5000)]);
    assert_eq!(model.run(10_000), [(5, Change::Split)], "the third busy one is the first that is measured");
    assert_eq!(model.rule.homes(), [1]);
}

#[test]
fn a_split_that_gains_nothing_ends_and_is_tried_again_ever_more_seldom() {
    let mut model = Model::new(4, 4, &[(1, 5000)]);
    model.gain = 104;
    let changes = model.run(400);
    let expected = [
        (5, Change::Split),
        (33, Change::Join(Reason::NoGain)),
        // Forty periods of rest, and three to measure anew.
        (75, Change::Split),
        (103, Change::Join(Reason::NoGain)),
        (185, Change::Split),
        (213, Change::Join(Reason::NoGain)),
        (375, Change::Split),
    ];
    assert_eq!(changes, expected);
    assert!(model.run(100_000).len() < 2 * (9 + 100_000 / 5000), "less than once in four minutes");
}

#[test]
fn a_split_has_three_trials_to_gain() {
    for (slow, expected) in [(12, vec![]), (20, vec![]), (26, vec![]), (28, vec![Reason::NoGain])] {
        let mut model = Model::new(4, 4, &[(1, 5000)]);
        model.run(5);
        model.gain = 50;
        assert_eq!(model.run(slow.min(27)), [], "{slow}");
        model.gain = if slow < 28 { 1000 } else { 50 };
        let changes: Vec<_> = model.run(100).into_iter().map(|(_, change)| change).collect();
        let first: Vec<_> = changes.first().copied().into_iter().collect();
        assert_eq!(first, expected.into_iter().map(Change::Join).collect::<Vec<_>>(), "{slow}");
    }
}

#[test]
fn a_split_ends_that_does_worse_than_before_unless_less_is_sent() {
    let mut model = Model::new(4, 4, &[(1, 5000)]);
    assert_eq!(model.run(100), [(5, Change::Split)]);
    model.gain = 95;
    assert_eq!(model.run(9), []);
    model.gain = 101;
    assert_eq!(model.run(100), [], "as good as before");
    model.gain = 95;
    assert_eq!(model.run(20), [(10, Change::Join(Reason::NoGain))]);

    let mut model = Model::new(4, 4, &[(1, 5000)]);
    model.run(100);
    model.peers[0].1 = 950;
    assert_eq!(model.run(300), [], "no lane is busy");
}

#[test]
fn a_split_ends_when_one_lane_is_enough_and_not_before() {
    let mut model = Model::new(4, 4, &[(0, 1500)]);
    assert_eq!(model.run(300), [(5, Change::Split)]);
    model.peers[0].1 = 760;
    assert_eq!(model.run(300), [], "it would be busy");
    model.peers[0].1 = 740;
    assert_eq!(model.run(9), []);
    model.peers[0].1 = 800;
    assert_eq!(model.run(1), []);
    model.peers[0].1 = 740;
    assert_eq!(model.run(20), [(10, Change::Join(Reason::Fits))]);
    model.peers[0].1 = 1500;
    // Ten of its twenty periods of rest are over, and a long split has no long one.
    assert_eq!(model.run(300), [(12, Change::Split)]);
}

/// Whether heavy lanes receive for each other, as far as a model has it.
fn is_wide(model: &Model) -> bool {
    let lanes = model.lanes.len();
    let possible: Vec<Vec<usize>> =
        (0..lanes).map(|home| (0..lanes).filter(|lane| *lane != home).collect()).collect();
    let homes = model.rule.homes();
    let receivers = model.rule.receivers(&possible);
    for (home, lanes) in receivers.iter().enumerate() {
        assert_eq!(lanes.is_empty(), !homes.contains(&home), "who is not split needs nobody");
    }
    receivers.iter().flatten().any(|lane| homes.contains(lane))
}

#[test]
fn up_to_a_third_of_a_node_is_split_and_up_to_a_half_with_heavy_lanes_for_each_other() {
    let heavy = |count: usize| (0..count).map(|home| (home, 5000)).collect::<Vec<_>>();
    for (lanes, node, peers, split, wide) in [
        (8, 8, 2, 2, false),
        (8, 8, 3, 3, true),
        (8, 8, 4, 4, true),
        (8, 8, 5, 0, false),
        (2, 2, 1, 0, false),
        (3, 3, 1, 1, false),
        (3, 3, 2, 0, false),
        (5, 5, 2, 2, true),
        (6, 6, 2, 2, false),
        (4, 4, 1, 1, false),
        (4, 4, 2, 2, true),
        (8, 4, 1, 1, false),
        (8, 4, 2, 2, true),
        (8, 4, 3, 0, false),
        (16, 8, 2, 2, false),
    ] {
        let mut model = Model::new(lanes, node, &heavy(peers));
        model.run(20);
        assert_eq!((model.rule.homes().len(), is_wide(&model)), (split, wide), "{lanes} {node} {peers}");
    }
    // One node has too many of them: those of the other would be split at their expense.
    let mut model = Model::new(8, 4, &[(0, 5000), (4, 5000), (5, 5000), (6, 5000)]);
    assert_eq!(model.run(20), []);
    // A lane with less to do than it could counts as long as it is more than half, and is not split.
    let mut model = Model::new(8, 8, &[(0, 5000), (1, 800)]);
    model.run(20);
    assert_eq!(model.rule.homes(), [0]);
    let mut model = Model::new(8, 8, &[(0, 5000), (1, 800), (2, 500), (3, 500), (4, 500)]);
    model.run(20);
    assert_eq!(model.rule.homes(), [0; 0]);
    let mut model = Model::new(8, 8, &[(0, 5000), (1, 800), (2, 499)]);
    model.run(20);
    assert_eq!(model.rule.homes(), [0]);
    let possible: Vec<Vec<usize>> =
        (0..8).map(|home| (0..8).filter(|lane| *lane != home).collect()).collect();
    let receivers = model.rule.receivers(&possible);
    assert_eq!(receivers[0], [2, 3, 4, 5, 6, 7], "who has time for it");
    assert!(receivers[1..].iter().all(Vec::is_empty), "nobody receives for the others");
}

#[test]
fn who_receives_is_what_brings_most() {
    let run = |gain, wide| {
        let mut model = Model::new(8, 8, &[(0, 5000), (1, 5000)]);
        (model.gain, model.wide) = (gain, wide);
        let changes = model.run(60);
        (changes, model.rule.is_split() && is_wide(&model))
    };
    assert_eq!(run(125, 200), (vec![(5, Change::Split)], false), "enough is not compared with more");
    let resteered = [(5, Change::Split), (17, Change::Resteer)];
    assert_eq!(run(124, 140), (resteered.to_vec(), true));
    let back = [&resteered[..], &[(29, Change::Resteer)]].concat();
    assert_eq!(run(124, 130), (back.clone(), false), "a twentieth more than those before");
    assert_eq!(run(124, 50), (back, false));
    let late = [(5, Change::Split), (33, Change::Resteer)];
    assert_eq!(run(104, 105), (late.to_vec(), true), "who gained nothing in three trials has one more");
    let none = [&late[..], &[(45, Change::Join(Reason::NoGain))]].concat();
    assert_eq!(run(104, 104), (none, false));
}

#[test]
fn who_is_busy_by_helping_is_not_counted() {
    for (own, expected) in [(249, vec![0]), (250, vec![]), (500, vec![0, 1])] {
        let mut model = Model::new(8, 8, &[(0, 5000), (1, own)]);
        model.helper = Some(1);
        model.run(20);
        assert_eq!(model.rule.homes(), expected, "{own}");
    }
}

#[test]
fn nothing_is_split_that_is_short_or_can_be_moved_or_is_busy_with_sending() {
    let mut model = Model::new(4, 4, &[(0, 5000)]);
    for _ in 0..20 {
        for _ in 0..4 {
            assert_eq!(model.period(), None);
        }
        model.peers[0].1 = 100;
        assert_eq!(model.period(), None, "busy periods have to be in a row");
        model.peers[0].1 = 5000;
    }
    let mut model = Model::new(4, 4, &[(0, 5000)]);
    for _ in 0..20 {
        assert_eq!(model.period_as(false, 100), None);
    }
    let mut model = Model::new(4, 4, &[(0, 5000)]);
    for _ in 0..20 {
        assert_eq!(model.period_as(true, 49), None);
    }
    let changes: Vec<_> = (0..20).filter_map(|_| model.period_as(true, 55)).collect();
    assert_eq!(changes, [Change::Split]);
}

#[test]
fn who_helps_is_not_taken_for_a_full_lane_though_the_one_that_it_helps_has_time() {
    let mut model = Model::new(4, 4, &[(0, 890), (1, 10)]);
    model.helper = Some(1);
    assert_eq!(model.run(100), []);
}

#[test]
fn what_is_sent_does_not_make_more_lanes_heavy_than_there_were() {
    // Of what the home does it receives little more than a half, and another lane has less than a half of all that to do.
    let mut model = Model::new(4, 4, &[(0, 5000), (1, 450)]);
    let changes: Vec<_> = (0..400).filter_map(|_| model.period_as(true, 55)).collect();
    assert_eq!(changes, [Change::Split]);
}

#[test]
fn periods_that_nobody_looked_at_are_not_in_a_row() {
    let mut model = Model::new(4, 4, &[(0, 5000)]);
    for _ in 0..50 {
        // It was not busy for a moment, so nobody asked.
        model.lanes[0].observe(100);
        model.now += 2 * PERIOD;
        model.lanes[0].observe(1000);
        model.lanes[0].observe(1000);
        for _ in 0..3 {
            assert_eq!(model.period(), None);
        }
    }
    assert_eq!(model.run(10), [(1, Change::Split)]);
}

#[test]
fn peers_are_asked_for_ever_more_seldom_while_there_is_nothing_to_split() {
    let heavy: Vec<_> = (0..5).map(|home| (home, 5000)).collect();
    let mut model = Model::new(8, 8, &heavy);
    let mut looks = Vec::new();
    for period in 1..=400 {
        let lanes = model.lanes.clone();
        if period > 3 && model.rule.wants(&lanes, model.now + PERIOD) {
            looks.push(period);
            assert_eq!(model.period(), None);
        } else {
            model.now += PERIOD;
            model.lanes.iter_mut().take(5).for_each(|lane| lane.observe(1000));
        }
    }
    let gaps: Vec<_> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.is_sorted() && gaps.first() == Some(&1) && gaps.last() == Some(&20), "{gaps:?}");
    // Fewer of them, and it is split within a second.
    model.peers.truncate(2);
    let changes = model.run(30);
    assert!(matches!(changes[..], [(..24, Change::Split)]), "{changes:?}");
}

#[test]
fn nothing_is_split_where_lanes_have_no_time() {
    let mut lanes = vec![LaneLoad { node: NodeId(0), busy: 1000, periods: 9 }; 4];
    let flow = PeerFlow { home: 0, received: 1000, all: 1000, share: 1000 };
    for (busy, expected) in [(667, None), (666, Some(Change::Split))] {
        let mut rule = AutoSplit::new(PERIOD);
        for lane in &mut lanes[1..] {
            *lane = LaneLoad { node: NodeId(0), busy, periods: 0 };
        }
        let signs = Signs { is_level: true, disorder: 0, waited: 0 };
        let last = (0..3).map(|period| rule.look(&lanes, &[flow], signs, period)).last().unwrap();
        assert_eq!(last, expected);
    }
}

#[test]
fn a_split_ends_when_more_lanes_become_heavy_and_may_begin_with_them() {
    let mut model = Model::new(8, 8, &[(0, 5000)]);
    assert_eq!(model.run(100), [(5, Change::Split)]);
    model.peers.push((3, 600));
    assert_eq!(model.run(20), [(10, Change::Join(Reason::MoreHeavy))]);
    model.peers[1].1 = 5000;
    assert_eq!(model.run(300).len(), 1);
    assert_eq!(model.rule.homes(), [0, 3]);
}

#[test]
fn a_split_that_others_pay_for_ends() {
    let mut model = Model::new(8, 8, &[(0, 5000), (1, 900)]);
    model.others = 80;
    assert_eq!(model.run(40), [(5, Change::Split), (33, Change::Join(Reason::OthersLose))]);
}

#[test]
fn a_split_that_brings_batches_home_out_of_order_ends() {
    let mut model = Model::new(4, 4, &[(0, 5000)]);
    model.run(5);
    model.disorder = 5;
    assert_eq!(
        model.run(10),
        [(7, Change::Join(Reason::Disorder))],
        "what was under way then does not count"
    );
    let mut model = Model::new(4, 4, &[(0, 5000)]);
    model.run(5);
    for _ in 0..1000 {
        model.disorder = 5 - model.disorder;
        assert_eq!(model.period(), None, "now and then");
    }
}

#[test]
fn nothing_is_split_while_lanes_wait_for_a_processor() {
    let mut model = Model::new(4, 4, &[(0, 5000)]);
    model.waited = 21;
    assert_eq!(model.run(100), []);
    model.waited = 20;
    let changes = model.run(100);
    assert!(matches!(changes[..], [(..24, Change::Split)]), "{changes:?}");
    model.waited = 21;
    assert_eq!(model.run(2), []);
    model.waited = 0;
    assert_eq!(model.run(2), [], "now and then");
    model.waited = 21;
    assert_eq!(model.run(10), [(3, Change::Join(Reason::Crowded))]);
    assert_eq!(model.run(1000), []);
}

#[test]
fn what_somebody_else_chose_is_not_changed_back() {
    let mut model = Model::new(4, 4, &[(0, 5000)]);
    model.run(5);
    model.rule.reset(model.now);
    assert!(!model.rule.is_split() && model.rule.homes().is_empty());
    assert!(!model.rule.wants(&model.lanes, model.now + 40 * PERIOD - 1));
    assert!(model.rule.wants(&model.lanes, model.now + 40 * PERIOD));
    assert_eq!(model.run(100), [(42, Change::Split)], "after its rest");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 200 }, ..ProptestConfig::default() })]

    /// Whatever the load does from one period to the next.
    #[test]
    fn changes_are_few_under_any_load(
        lanes in 4..9_usize,
        seed in any::<u64>(),
        hold in 1..40_u64,
        gains in prop::collection::vec(50..300_u64, 1..8),
    ) {
        let mut random = seed | 1;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut model = Model::new(lanes, lanes, &[]);
        let (mut joined, mut changes, mut resteers, mut was_split) = (None::<u64>, 0, 0, false);
        for period in 0..4000_u64 {
            if period % hold == 0 {
                let count = lanes as u64;
                model.peers = (0..next(3)).map(|_| (usize::try_from(next(count)).unwrap(), next(4000))).collect();
                let mut gain = || gains[usize::try_from(next(gains.len() as u64)).unwrap()];
                (model.gain, model.wide) = (gain(), gain());
                model.others = 50 + next(60);
                model.disorder = u32::try_from(next(8)).unwrap();
                model.waited = u32::try_from(next(30)).unwrap();
            }
            let Some(change) = model.period() else { continue };
            changes += 1;
            prop_assert_eq!(change == Change::Split, !was_split, "one after the other");
            match change {
                Change::Split => {
                    prop_assert!(joined.is_none_or(|joined| period - joined > 20), "it rests");
                    prop_assert!(model.rule.homes().len() * 2 <= lanes);
                    resteers = 0;
                }
                Change::Resteer => resteers += 1,
                Change::Join(_) => joined = Some(period),
            }
            prop_assert!(resteers <= 2, "there and back");
            was_split = model.rule.is_split();
        }
        // Two short ones and a long one take 355 periods.
        prop_assert!(changes <= 8 + 12 * 4000 / 355, "{changes} changes");
    }

    /// Whatever a constant load is, there comes an end to changing.
    #[test]
    fn a_constant_load_is_split_for_good_or_hardly_ever(
        lanes in 4..9_usize,
        load in prop::collection::vec((0..9_usize, 0..3000_u64), 1..4),
        gain in 50..300_u64,
        wide in 50..300_u64,
        others in 50..110_u64,
    ) {
        let peers: Vec<_> = load.into_iter().map(|(home, want)| (home % lanes, want)).collect();
        let mut model = Model::new(lanes, lanes, &peers);
        (model.gain, model.wide, model.others) = (gain, wide, others);
        let began = |changes: &[(u32, Change)]| changes.iter().filter(|(_, change)| *change == Change::Split).count();
        let early = model.run(1000);
        prop_assert!(began(&early) <= 5, "{early:?}");
        let late = model.run(10_000);
        prop_assert!(began(&late) <= 5, "{late:?}");
        if early.iter().all(|(_, change)| !matches!(change, Change::Join(_))) {
            prop_assert_eq!(late, []);
        }
    }
}
