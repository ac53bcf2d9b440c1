//! The many-core machine: what must hold on it whatever the costs, and the shapes of the papers that it shows.
//!
//! `docs/figures.md` has all points, and those it misses.

use wg_sched::StrategyKind;
use wg_sim::machine::{Calibration, Contender, Costs, Load, Machine, Measured, Setup, threads, topology};

fn modern(cores: u32, nodes: u32, kind: StrategyKind, tunnels: u32) -> Setup {
    shipped(Calibration::Modern, cores, nodes, kind, tunnels)
}

fn shipped(calibration: Calibration, cores: u32, nodes: u32, kind: StrategyKind, tunnels: u32) -> Setup {
    let costs = calibration.costs();
    let mut setup = Setup::new(topology(cores, nodes), costs, Contender::shipped(kind), tunnels);
    (setup.link, setup.warmup, setup.duration) = (4_000_000_000_000, 3_000_000, 4_000_000);
    setup
}

fn paper(contender: Contender, tunnels: u32, flows: u32) -> f64 {
    run_paper(contender, tunnels, flows).gigabits()
}

fn run_paper(contender: Contender, tunnels: u32, flows: u32) -> Measured {
    run_seed(contender, tunnels, flows, 1)
}

/// The kernel's slices are of milliseconds: it takes a hundred until what it comes to depends little on when one looks.
fn run_seed(contender: Contender, tunnels: u32, flows: u32, seed: u64) -> Measured {
    let mut setup = Setup::new(topology(32, 2), Calibration::Paper.costs(), contender, tunnels);
    (setup.packet, setup.flows, setup.warmup, setup.seed) = (1368, flows, 20_000_000, seed);
    if contender.is_kernel() {
        (setup.warmup, setup.duration) = (100_000_000, 60_000_000);
    }
    if contender.is_kernel() && tunnels > 1 {
        (setup.warmup, setup.surge) = (200_000_000, SURGE);
    }
    Machine::run(&setup)
}

/// The flows of several tunnels of the kernel begin one after the other.
const SURGE: u64 = 100_000_000;

/// Softirq drains some time after that.
fn gathered(contender: Contender, tunnels: u32, seed: u64) -> Measured {
    let mut setup = Setup::new(topology(32, 2), Calibration::Paper.costs(), contender, tunnels);
    (setup.packet, setup.seed, setup.warmup, setup.duration) = (1368, seed, 500_000_000, 20_000_000);
    (setup.surge, setup.block) = (SURGE, if contender == Contender::NUMA_SOFTIRQ { 8 } else { 1 });
    Machine::run(&setup)
}

/// The cores that work all of the time.
fn saturated(result: &Measured) -> Vec<usize> {
    let cores = result.busy.iter().enumerate();
    cores.filter(|(_, busy)| **busy * 100 > 97 * result.duration).map(|(core, _)| core).collect()
}

fn moonwire(contender: Contender, cores: u32) -> f64 {
    Machine::run(&moonwire_setup(contender, cores)).mpps()
}

fn moonwire_setup(contender: Contender, cores: u32) -> Setup {
    let mut setup = Setup::new(topology(cores, 1), Calibration::MoonWire.costs(), contender, 1);
    (setup.packet, setup.flows, setup.ring) = (64, 64, 8192);
    setup.load = Load::Windowed { most: 1024 };
    setup.shared_queues = true;
    setup
}

#[test]
fn same_seed_gives_the_same_trace() {
    for kind in StrategyKind::ALL {
        let setup = modern(4, 2, *kind, 5);
        let first = Machine::run(&setup);
        assert_eq!(first, Machine::run(&setup), "{kind}");
        assert_ne!(first.trace, Machine::run(&Setup { seed: 2, ..setup }).trace, "{kind}");
    }
}

#[test]
fn every_packet_is_accounted_for_and_in_order() {
    for kind in StrategyKind::ALL {
        for load in [Load::Windowed { most: 64 }, Load::Constant { rate: 4_000_000 }] {
            let mut setup = modern(4, 2, *kind, 3);
            setup.load = load;
            // One tunnel is moved while the others go on.
            setup.converged = !kind.shares_home();
            let mut machine = Machine::new(&setup);
            let result = machine.measure(60_000_000);
            assert!(result.packets > 0, "{kind} {load:?}");
            assert_eq!(result.reordered, 0, "{kind} {load:?}");
            let on_the_way = result.sent - result.accounted - result.inside;
            // No more than a window or the link holds.
            assert!(on_the_way <= 3 * 64 + 4_000_000 * 3 / 20_000, "{kind} {load:?}: {on_the_way}");
        }
    }
}

#[test]
fn a_home_of_many_tunnels_is_helped_as_one_of_few_is() {
    // All on one of eight cores, before any is moved. What stands behind a full round is the head of another tunnel, which is not
    // offered, and what comes behind that is.
    for seed in 1..=3 {
        let rate = |kind, tunnels| {
            let mut setup = modern(8, 1, kind, tunnels);
            (setup.converged, setup.duration, setup.seed) = (true, 6_000_000, seed);
            Machine::run(&setup).mpps()
        };
        let alone = rate(StrategyKind::Inline, 32);
        for tunnels in [1, 8, 32] {
            let helped = rate(StrategyKind::Adaptive, tunnels);
            assert!(helped > 1.65 * alone, "seed {seed}, {tunnels} tunnels: {helped} {alone}");
        }
    }
}

#[test]
fn one_tunnel_is_flat_in_flows() {
    for contender in [Contender::shipped(StrategyKind::Inline), Contender::SOFTIRQ, Contender::THREADED] {
        let rates = [1, 8, 31].map(|flows| paper(contender, 1, flows));
        for rate in rates {
            assert!((rate / rates[0] - 1.0).abs() < 0.05, "{contender:?} {rates:?}");
        }
    }
}

#[test]
fn affinity_and_both_mends_gain_what_they_did() {
    let rate = |kind| paper(Contender { kind, ..Contender::SOFTIRQ }, 1, 8);
    let vanilla = rate(StrategyKind::Pipelined);
    let apart = rate(StrategyKind::PipelinedNoOverlap) / vanilla;
    let affine = rate(StrategyKind::NumaPools) / vanilla;
    let both = rate(StrategyKind::NumaPoolsNoOverlap) / vanilla;
    assert!((1.10..1.18).contains(&apart), "{apart}: the paper has 1.14");
    assert!((1.26..1.36).contains(&affine), "{affine}: the paper has 1.31");
    assert!((1.38..1.52).contains(&both), "{both}: the paper has 1.45");
}

#[test]
fn one_tunnel_split_by_counters_is_far_ahead_of_the_vanilla_kernel() {
    let vanilla = paper(Contender::SOFTIRQ, 1, 8);
    let result = run_paper(Contender::shipped(StrategyKind::CounterSplit), 1, 8);
    let ratio = result.gigabits() / vanilla;
    assert!(ratio > 2.5, "{ratio}: at least 2, the aim is 4, see `docs/figures.md`");
    assert_eq!(result.reordered, 0);
    // What bounds it: the home delivers all of it, and has no time for more.
    let home = *result.busy.iter().max().unwrap();
    assert!(home * 100 > result.duration * 95, "{:?}", result.busy);
    assert!(result.spread() > 1.5, "the receivers have time left: {:?}", result.busy);
}

#[test]
fn inline_is_linear_and_emulated_inline_parallel_and_below() {
    let tunnels = [1, 4, 8, 16, 24, 32];
    let rate = |kind| tunnels.map(|count| paper(Contender::shipped(kind), count, 1));
    let (inline, emulated) = (rate(StrategyKind::Inline), rate(StrategyKind::EmulatedInline));
    for rates in [inline, emulated] {
        assert!(squared_correlation(&tunnels.map(f64::from), &rates) > 0.99, "{rates:?}");
    }
    for (at, count) in tunnels.into_iter().enumerate() {
        assert!((emulated[at] / inline[at] - emulated[0] / inline[0]).abs() < 0.03, "parallel at {count}");
        assert!(emulated[at] < 0.95 * inline[at], "below at {count}");
    }
}

/// R^2 of a straight line through points.
fn squared_correlation(x: &[f64], y: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| of(x - mean_x, y - mean_y)).sum()
    };
    sum(&|x, y| x * y).powi(2) / (sum(&|x, _| x * x) * sum(&|_, y| y * y))
}

#[test]
fn inline_crosses_the_pipelines() {
    for seed in 1..=3 {
        let ahead = |contender, tunnels| {
            let inline = paper(Contender::shipped(StrategyKind::Inline), tunnels, 1);
            run_seed(contender, tunnels, 1, seed).gigabits() / inline
        };
        // The paper: 12, give or take 2.
        let threaded = [10, 14].map(|tunnels| ahead(Contender::THREADED, tunnels));
        assert!(threaded[0] > 1.0 && threaded[1] < 1.0, "seed {seed}: {threaded:?}");
        // The paper: 20, give or take 3.
        let affine = [17, 23].map(|tunnels| ahead(Contender::NUMA_THREADED, tunnels));
        assert!(affine[0] > 1.0 && affine[1] < 1.0, "seed {seed}: {affine:?}");
    }
}

#[test]
fn threaded_drains_have_a_knee_at_about_sixteen_tunnels() {
    for seed in 1..=3 {
        let rates =
            [1, 8, 16, 20, 32].map(|tunnels| run_seed(Contender::THREADED, tunnels, 1, seed).gigabits());
        let slope = |from: usize, to: usize, tunnels: f64| (rates[to] - rates[from]) / tunnels;
        assert!(slope(0, 1, 7.0) > 2.5, "seed {seed}: {rates:?}");
        assert!(slope(1, 2, 8.0) > 1.2, "seed {seed}: {rates:?}");
        assert!(slope(3, 4, 12.0) < 0.25, "seed {seed}: {rates:?}");
        // The paper: 48, and 65 for pools of nodes.
        assert!((rates[4] / 48.0 - 1.0).abs() < 0.08, "seed {seed}: {rates:?}");
        let affine = run_seed(Contender::NUMA_THREADED, 32, 1, seed).gigabits();
        assert!((affine / 65.0 - 1.0).abs() < 0.06, "seed {seed}: {affine}");
    }
}

#[test]
fn third_variant_is_linear_to_seven_workers_and_flat_behind() {
    let rates: Vec<f64> = (1..=10).map(|workers| moonwire(Contender::VARIANT_3, workers + 1)).collect();
    for (workers, rate) in (1_u32..=6).zip(&rates) {
        assert!((rate / (rates[0] * f64::from(workers)) - 1.0).abs() < 0.05, "{workers}: {rates:?}");
    }
    assert!((rates[9] / rates[6] - 1.0).abs() < 0.03, "{rates:?}");
}

#[test]
fn second_variant_peaks_at_four_workers_and_spinning_pays_until_then() {
    for seed in 1..=3 {
        let rate =
            |contender, workers| Machine::run(&Setup { seed, ..moonwire_setup(contender, workers) }).mpps();
        let rates = |contender| [1, 2, 3, 4, 5, 6, 8, 10].map(|workers| rate(contender, workers));
        let (mutex, spin) = (rates(Contender::VARIANT_2_MUTEX), rates(Contender::VARIANT_2_SPIN));
        for (at, pair) in spin.windows(2).enumerate() {
            assert_eq!(pair[0] < pair[1], at < 3, "seed {seed}: a peak at four: {spin:?}");
        }
        for (at, (spin, mutex)) in spin.iter().zip(mutex).enumerate().skip(1) {
            assert_eq!(
                *spin > mutex,
                at < 4,
                "seed {seed}: ahead up to the peak, behind from then on: {spin} {mutex}"
            );
        }
        // The paper has it fall. Here it gains little: with ten it is at less than half of what ten would do alone.
        assert!(mutex[7] < 5.0 * mutex[0], "seed {seed}: {mutex:?}");
    }
}

#[test]
fn second_variant_holds_up_for_longer_with_large_packets() {
    let rates = [4, 6, 10].map(|workers| {
        let setup = moonwire_setup(Contender::VARIANT_2_SPIN, workers);
        Machine::run(&Setup { packet: 1514, ..setup }).mpps()
    });
    assert!(rates[1] > 1.3 * rates[0], "past four: {rates:?}");
    assert!(rates[2] < rates[1], "but not for ever: {rates:?}");
}

#[test]
fn second_variant_needs_flows_for_its_workers() {
    // The paper: few flows are dealt out unevenly.
    let rate = |flows| {
        let setup = moonwire_setup(Contender::VARIANT_2_SPIN, 4);
        Machine::run(&Setup { flows, ..setup })
    };
    let one = rate(1);
    assert_eq!(one.busy.iter().filter(|busy| **busy > 0).count(), 1, "{:?}", one.busy);
    assert!((one.mpps() / moonwire(Contender::VARIANT_2_SPIN, 1) - 1.0).abs() < 0.05, "as one worker");
    assert!(rate(64).mpps() > 2.5 * one.mpps());
}

#[test]
fn locked_workers_stop_gaining_and_spinning_pays_until_then() {
    // The strategy as it is shipped, which takes its lock twice a round; `docs/figures.md` has it beside variant 2.
    let rates = |kind| [2, 4, 6, 8, 10].map(|cores| moonwire(Contender::shipped(kind), cores));
    let (mutex, spin) = (rates(StrategyKind::LockedMutex), rates(StrategyKind::LockedSpin));
    assert!(spin[2] > mutex[2], "ahead up to the peak: {mutex:?} {spin:?}");
    assert!(spin[3] < mutex[3] && spin[4] < mutex[4], "behind at high contention: {mutex:?} {spin:?}");
    assert!(spin[4] < 0.6 * spin[2], "and falls: {spin:?}");
    assert!(mutex[4] < 1.05 * mutex[2], "ten are not more than six: {mutex:?}");
}

#[test]
fn overload_costs_no_goodput() {
    for kind in [StrategyKind::Inline, StrategyKind::Adaptive, StrategyKind::PipelinedNoOverlap] {
        let rate = |rate| {
            let setup = modern(8, 1, kind, 8);
            Machine::run(&Setup { load: Load::Constant { rate }, ..setup }).mpps()
        };
        let (peak, over) = (rate(1_200_000), rate(4_800_000));
        assert!(over > 0.9 * peak, "{kind}: {over} of {peak}");
    }
}

#[test]
fn the_kernels_design_collapses_under_overload() {
    // The negative control: rings that push back on nobody.
    let rate = |rate| {
        let mut setup = Setup::new(topology(8, 1), Calibration::Paper.costs(), Contender::THREADED, 8);
        (setup.load, setup.warmup, setup.duration) = (Load::Constant { rate }, 20_000_000, 20_000_000);
        Machine::run(&setup).mpps()
    };
    let (peak, over) = (rate(190_000), rate(760_000));
    assert!(over < 0.75 * peak, "{over} of {peak}");
}

#[test]
fn homes_that_begin_on_one_core_are_level_within_a_second_and_stay_so() {
    // `cargo xtask soak black-hole` does this for 10^7 events and more seeds.
    for kind in [StrategyKind::Inline, StrategyKind::Adaptive] {
        let mut setup = modern(4, 1, kind, 16);
        setup.converged = true;
        let mut machine = Machine::new(&setup);
        let before = machine.measure(20_000_000);
        assert!(before.busy[0] > 19_000_000, "they do begin on one: {:?}", before.busy);
        machine.run_for(980_000_000);
        for _ in 0..3 {
            let level = machine.measure(50_000_000);
            assert!(level.spread() < 1.3, "{kind}: {:?}", level.busy);
            assert_eq!(level.reordered, 0);
        }
    }
}

#[test]
fn softirq_drains_gather_on_one_core_and_are_a_plateau() {
    // The negative control: the drains are on a core that has no time for more, while all others have, and more tunnels bring little more.
    // `docs/figures.md` has other numbers of tunnels, of which one seed of three may gather on two cores.
    let one = run_paper(Contender::SOFTIRQ, 1, 1).gigabits();
    for (tunnels, seed) in
        [4, 8, 16, 24].into_iter().flat_map(|tunnels| (1..=3).map(move |seed| (tunnels, seed)))
    {
        let result = gathered(Contender::SOFTIRQ, tunnels, seed);
        let busy = &result.busy;
        assert_eq!(saturated(&result).len(), 1, "seed {seed}, {tunnels} tunnels: {busy:?}");
        let idle = busy.iter().filter(|busy| **busy * 10 < result.duration * 7).count();
        assert_eq!(idle, 31, "seed {seed}, {tunnels} tunnels: {busy:?}");
        // The plateau of the paper is 2.2 to 3 times one tunnel.
        let times = result.gigabits() / one;
        assert!((2.1..3.3).contains(&times), "seed {seed}, {tunnels} tunnels: {times}");
    }
}

#[test]
fn softirq_drains_of_two_nodes_are_two_steps() {
    // Eight tunnels on one node before the other has any: that is what gives the steps near 4 and 12 of the paper.
    for seed in 1..=3 {
        let results = [4, 8, 12, 16].map(|tunnels| gathered(Contender::NUMA_SOFTIRQ, tunnels, seed));
        for (at, result) in results.iter().enumerate() {
            let nodes: Vec<usize> = saturated(result).iter().map(|core| core / 16).collect();
            assert_eq!(nodes, [&[0][..], &[0, 1]][at / 2], "seed {seed}, step {at}: {:?}", result.busy);
        }
        let rates = results.map(|result| result.gigabits());
        assert!(rates[1] < 1.2 * rates[0], "seed {seed}, flat up to 8: {rates:?}");
        assert!(rates[2] > 1.7 * rates[1], "seed {seed}, a step up to 12: {rates:?}");
        assert!(rates[3] < 1.2 * rates[2], "seed {seed}, flat again: {rates:?}");
    }
}

#[test]
fn a_plan_that_knows_siblings_is_better_than_one_that_does_not() {
    let mut setup = modern(4, 1, StrategyKind::PipelinedNoOverlap, 1);
    setup.topology = threads(4, 1);
    let knows = Machine::run(&setup).mpps();
    let mut believed = setup.topology.clone();
    believed.cores.iter_mut().for_each(|core| core.physical = core.id.0);
    setup.believed = Some(believed);
    let does_not = Machine::run(&setup).mpps();
    assert!(knows > 1.05 * does_not, "{knows} {does_not}");
}

#[test]
fn adaptive_is_not_far_behind_the_best_of_the_others() {
    // However dear a wake-up is.
    let modern = [(1, 8, 1), (1, 8, 8), (2, 8, 2), (2, 16, 4), (2, 16, 16), (1, 8, 24)];
    let guest = [(1, 8, 1), (2, 16, 2), (2, 16, 4), (1, 8, 32)];
    let points = modern.map(|point| (Calibration::Modern, point));
    let points = points.into_iter().chain(guest.map(|point| (Calibration::Guest, point)));
    for (seed, (calibration, (nodes, cores, tunnels))) in (1..).zip(points) {
        for packet in [64, 1420] {
            let rate = |kind| {
                let setup = shipped(calibration, cores, nodes, kind, tunnels);
                Machine::run(&Setup { packet, seed, ..setup }).mpps()
            };
            let apart = [StrategyKind::Adaptive, StrategyKind::CounterSplit];
            let others = StrategyKind::ALL.iter().filter(|kind| !apart.contains(kind));
            let best = others.map(|kind| rate(*kind)).fold(0.0, f64::max);
            let ratio = rate(StrategyKind::Adaptive) / best;
            assert!(ratio > 0.95, "{calibration:?} {nodes} {cores} {tunnels} {packet}: {ratio}");
        }
    }
}

#[test]
fn adaptive_is_not_far_behind_whatever_it_takes_a_wake_up_to_cost() {
    // The home bounds one or two tunnels of large packets, and has helpers that come and go.
    for wake in [4000, 16_000] {
        let costs = Costs { wake, ..Calibration::Modern.costs() };
        for tunnels in [1, 2] {
            let run = |kind, wake| {
                let estimate = Some(wg_sched::Costs { wake, ..wg_sched::Costs::REFERENCE });
                let setup = modern(8, 2, kind, tunnels);
                Machine::run(&Setup { costs, estimate, ..setup }).mpps()
            };
            let others = [StrategyKind::PipelinedNoOverlap, StrategyKind::NumaPoolsNoOverlap];
            let best = others.map(|kind| run(kind, 0)).into_iter().fold(0.0, f64::max);
            for estimate in [1000, 2000, 5000, 8400, 12_000, 14_000, 17_000, 25_000] {
                let ratio = run(StrategyKind::Adaptive, estimate) / best;
                assert!(ratio > 0.97, "{tunnels} tunnels, {wake} ns, taken for {estimate}: {ratio}");
            }
        }
    }
}
