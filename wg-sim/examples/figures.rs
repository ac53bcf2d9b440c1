//! The sweeps behind `docs/figures.md`, as rows of comma-separated values: `cargo xtask figures` runs it and draws them.

use wg_sched::StrategyKind;
use wg_sim::machine::{Calibration, Contender, Egress, Load, Machine, Measured, Setup, topology};

const PAPER: u32 = 1368;
const CONTENDERS: [(&str, Contender); 6] = [
    ("vanilla", Contender::SOFTIRQ),
    ("vanilla threaded", Contender::THREADED),
    ("NUMA-aware", Contender::NUMA_SOFTIRQ),
    ("NUMA-aware threaded", Contender::NUMA_THREADED),
    ("inline", Contender::shipped(StrategyKind::Inline)),
    ("emulated inline", Contender::shipped(StrategyKind::EmulatedInline)),
];
const TUNNELS: [u32; 12] = [1, 2, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32];

/// Sweeps, by name.
const SWEEPS: [(&str, fn()); 11] = [
    ("flows", flows),
    ("single", single),
    ("split", split),
    ("tunnels", tunnels),
    ("cores", black_hole),
    ("locked", variant_2),
    ("pipeline", variant_3),
    ("overload", overload),
    ("modern", modern),
    ("grid", || grid(Calibration::Modern)),
    ("grid-guest", || grid(Calibration::Guest)),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for name in &wanted {
        assert!(SWEEPS.iter().any(|(sweep, _)| sweep == name), "no sweep is called {name}");
    }
    println!("figure,series,x,y,unit,fitted");
    for (name, sweep) in SWEEPS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            sweep();
        }
    }
}

fn row(figure: &str, series: &str, x: impl core::fmt::Display, y: f64, unit: &str, fitted: &str) {
    println!("{figure},{series},{x},{y:.3},{unit},{fitted}");
}

fn paper(contender: Contender, tunnels: u32, flows: u32, seed: u64) -> Setup {
    let mut setup = Setup::new(topology(32, 2), Calibration::Paper.costs(), contender, tunnels);
    (setup.packet, setup.flows, setup.seed) = (PAPER, flows, seed);
    // Slices of threads take their time, and softirqs take more of it to gather.
    let gathers = contender.egress == Egress::Softirq;
    (setup.warmup, setup.duration) = (if gathers { 500_000_000 } else { 100_000_000 }, 60_000_000);
    if contender.is_kernel() && tunnels > 1 {
        // Flows begin one after the other.
        setup.surge = 100_000_000;
        setup.warmup = setup.warmup.max(200_000_000);
    }
    if contender == Contender::NUMA_SOFTIRQ {
        // Eight tunnels are on one node before the other has any: from that the paper's steps are where they are.
        setup.block = 8;
    }
    setup
}

fn flows() {
    for flows in [1, 2, 4, 8, 16, 31] {
        let result = Machine::run(&paper(Contender::SOFTIRQ, 1, flows, 1));
        row("flows", "vanilla", flows, result.gigabits(), "Gbit/s", if flows == 1 { "fitted" } else { "" });
    }
    row("flows", "vanilla: paper", 1, 5.0, "Gbit/s", "paper");
    row("flows", "vanilla: paper", 31, 5.0, "Gbit/s", "paper");
}

fn single() {
    let cases = [
        ("vanilla", StrategyKind::Pipelined, 5.0),
        ("overlap avoided", StrategyKind::PipelinedNoOverlap, 5.7),
        ("NUMA-aware", StrategyKind::NumaPools, 6.55),
        ("both", StrategyKind::NumaPoolsNoOverlap, 7.25),
    ];
    for (name, kind, value) in cases {
        let contender = Contender { kind, ..Contender::SOFTIRQ };
        let result = Machine::run(&paper(contender, 1, 8, 1));
        row("single", name, 1, result.gigabits(), "Gbit/s", "fitted");
        row("single", &format!("{name}: paper"), 1, value, "Gbit/s", "paper");
    }
    for (name, setup) in splits(1, 8) {
        row("single", name, 1, Machine::run(&setup).gigabits(), "Gbit/s", "");
    }
}

/// Periods of [`wg_sched::AutoSplit`] that are long beside what waits at a home when it is split. Sixty of them before anything is
/// counted, and all trials are over.
const AUTO: Option<u64> = Some(1_000_000);

/// The first paper's machine, by who may split counters: the default, the same with nothing split, and all of them always.
fn splits(tunnels: u32, flows: u32) -> [(&'static str, Setup); 3] {
    let adaptive = paper(Contender::shipped(StrategyKind::Adaptive), tunnels, flows, 1);
    // A home takes 8 ms for what may wait there.
    let auto = Setup { auto: Some(10_000_000), warmup: 600_000_000, ..adaptive.clone() };
    let split = paper(Contender::shipped(StrategyKind::CounterSplit), tunnels, flows, 1);
    [("adaptive", auto), ("adaptive that splits nothing", adaptive), ("counter-split", split)]
}

/// What splitting counters gains, up to how many tunnels, and from how many cores on.
fn split() {
    for tunnels in TUNNELS {
        let inline = ("inline", paper(Contender::shipped(StrategyKind::Inline), tunnels, 1, 1));
        for (name, setup) in splits(tunnels, 1).into_iter().chain([inline]) {
            row("split", name, tunnels, Machine::run(&setup).gigabits(), "Gbit/s", "");
        }
    }
    for cores in [2, 4, 6, 8, 10, 12, 14, 16] {
        for (name, mut setup) in splits(1, 8) {
            setup.topology = topology(cores, 1);
            row("receivers", name, cores, Machine::run(&setup).gigabits(), "Gbit/s", "");
        }
    }
}

fn tunnels() {
    let adaptive = ("adaptive", Contender::shipped(StrategyKind::Adaptive));
    for (name, contender) in CONTENDERS.into_iter().chain([adaptive]) {
        for tunnels in TUNNELS {
            let result = Machine::run(&paper(contender, tunnels, 1, 1));
            let fitted = tunnels == 1 && name != "emulated inline" && name != "adaptive";
            row("tunnels", name, tunnels, result.gigabits(), "Gbit/s", if fitted { "fitted" } else { "" });
        }
    }
    for (name, x, y) in [
        ("vanilla", 4, 13.0),
        ("vanilla", 32, 13.0),
        ("vanilla threaded", 32, 48.0),
        ("NUMA-aware threaded", 32, 65.0),
        ("inline", 32, 90.0),
    ] {
        row("tunnels", &format!("{name}: paper"), x, y, "Gbit/s", "paper");
    }
}

fn black_hole() {
    for (name, contender) in [
        ("vanilla", Contender::SOFTIRQ),
        ("vanilla threaded", Contender::THREADED),
        ("adaptive", Contender::shipped(StrategyKind::Adaptive)),
    ] {
        let result = Machine::run(&paper(contender, 8, 1, 1));
        for (core, busy) in result.busy.iter().enumerate() {
            row("cores", name, core, *busy as f64 * 100.0 / result.duration as f64, "percent", "");
        }
    }
}

fn moonwire(contender: Contender, cores: u32, packet: u32) -> Setup {
    let mut setup = Setup::new(topology(cores, 1), Calibration::MoonWire.costs(), contender, 1);
    (setup.packet, setup.flows, setup.ring) = (packet, 64, 8192);
    setup.load = Load::Windowed { most: 1024 };
    setup.shared_queues = true;
    setup.link = 40_000_000_000;
    setup
}

fn locking(result: &Measured) -> f64 {
    result.locking as f64 * 100.0 / result.busy.iter().sum::<u64>().max(1) as f64
}

fn variant_2() {
    for (name, contender) in [
        ("variant 2 with a mutex", Contender::VARIANT_2_MUTEX),
        ("variant 2 with a spin lock", Contender::VARIANT_2_SPIN),
        ("locked-mutex", Contender::shipped(StrategyKind::LockedMutex)),
        ("locked-spin", Contender::shipped(StrategyKind::LockedSpin)),
    ] {
        for workers in 1..=10 {
            let result = Machine::run(&moonwire(contender, workers, 64));
            row("locked", name, workers, result.mpps(), "Mpps", "");
            row("locking", name, workers, locking(&result), "percent", "");
        }
    }
    for (name, contender) in [
        ("variant 2 with a mutex", Contender::VARIANT_2_MUTEX),
        ("variant 2 with a spin lock", Contender::VARIANT_2_SPIN),
    ] {
        for workers in 1..=10 {
            let result = Machine::run(&moonwire(contender, workers, 1514));
            row("locked-large", name, workers, result.mpps(), "Mpps", "");
        }
    }
    row("locked", "variant 1: paper", 1, 1.3, "Mpps", "paper");
}

fn variant_3() {
    for workers in 1..=10 {
        for (name, contender) in [
            ("variant 3", Contender::VARIANT_3),
            ("sent in order by the home", Contender::shipped(StrategyKind::PipelinedNoOverlap)),
        ] {
            let setup = moonwire(contender, workers + 1, 64);
            let fitted = if name == "variant 3" && matches!(workers, 1 | 7) { "fitted" } else { "" };
            row("pipeline", name, workers, Machine::run(&setup).mpps(), "Mpps", fitted);
        }
    }
    row("pipeline", "variant 3: paper", 1, 1.1, "Mpps", "paper");
    row("pipeline", "variant 3: paper", 7, 6.3, "Mpps", "paper");
    row("pipeline", "variant 3: paper", 10, 6.3, "Mpps", "paper");
}

/// What is delivered, over the most that is, by what is offered, over what can be done.
fn overload() {
    let modern = Calibration::Modern.costs();
    for (name, contender, costs, most) in [
        ("inline", Contender::shipped(StrategyKind::Inline), modern, 1_180_000),
        ("pipelined", Contender::shipped(StrategyKind::PipelinedNoOverlap), modern, 1_180_000),
        ("adaptive", Contender::shipped(StrategyKind::Adaptive), modern, 1_180_000),
        ("the kernel's", Contender::THREADED, Calibration::Paper.costs(), 180_000),
    ] {
        let loads = [25, 50, 75, 100, 150, 200, 300, 400];
        let rates = loads.map(|percent| {
            let mut setup = Setup::new(topology(8, 1), costs, contender, 8);
            setup.load = Load::Constant { rate: most * percent / 100 };
            setup.link = 4_000_000_000_000;
            if contender.is_kernel() {
                (setup.warmup, setup.duration) = (40_000_000, 40_000_000);
            }
            Machine::run(&setup).mpps()
        });
        let best = rates.iter().copied().fold(0.0, f64::max);
        for (percent, rate) in loads.into_iter().zip(rates) {
            row("overload", name, percent, rate / best, "share of the peak", "");
        }
    }
}

fn modern() {
    for kind in StrategyKind::ALL.iter().filter(|kind| !kind.splits_counters()) {
        for tunnels in TUNNELS {
            let contender = Contender::shipped(*kind);
            let mut setup = Setup::new(topology(32, 2), Calibration::Modern.costs(), contender, tunnels);
            setup.link = 4_000_000_000_000;
            row("modern", kind.name(), tunnels, Machine::run(&setup).gigabits(), "Gbit/s", "");
        }
    }
}

/// The adaptive strategy over the best of the others, at every point; what splitting counters would gain there; and what comes of it
/// where that is left to [`wg_sched::AutoSplit`].
fn grid(calibration: Calibration) {
    for nodes in [1, 2] {
        for cores in [8, 16, 32] {
            for packet in [64, 1420] {
                let series = format!("{nodes} nodes {cores} cores {packet} B");
                for tunnels in TUNNELS {
                    let setup = |kind: StrategyKind| {
                        let contender = Contender::shipped(kind);
                        let mut setup =
                            Setup::new(topology(cores, nodes), calibration.costs(), contender, tunnels);
                        (setup.packet, setup.link) = (packet, 4_000_000_000_000);
                        if calibration == Calibration::Modern {
                            setup.warmup = 60_000_000;
                        }
                        setup
                    };
                    let rate = |kind| Machine::run(&setup(kind)).mpps();
                    let apart = [StrategyKind::Adaptive, StrategyKind::CounterSplit];
                    let others = StrategyKind::ALL.iter().filter(|kind| !apart.contains(kind));
                    let best = others.map(|kind| rate(*kind)).fold(0.0, f64::max);
                    let adaptive = rate(StrategyKind::Adaptive);
                    if calibration == Calibration::Guest {
                        row("grid-guest", &series, tunnels, adaptive / best, "ratio", "");
                        continue;
                    }
                    row("grid", &series, tunnels, adaptive / best, "ratio", "");
                    let split = rate(StrategyKind::CounterSplit);
                    row("grid-split", &series, tunnels, split / adaptive, "ratio", "");
                    let auto = Machine::run(&Setup { auto: AUTO, ..setup(StrategyKind::Adaptive) }).mpps();
                    row("grid-auto", &series, tunnels, auto / best, "ratio", "");
                    row("grid-auto-split", &series, tunnels, auto / best.max(split), "ratio", "");
                }
            }
        }
    }
}
