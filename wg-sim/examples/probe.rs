use wg_sched::StrategyKind::{self, *};
use wg_sim::machine::*;
fn costs() -> Costs { with(Calibration::Paper.costs(), "") }
fn with(mut c: Costs, pre: &str) -> Costs {
    for a in std::env::args().skip(2) {
        let a = match a.strip_prefix("m.") { Some(b) if pre == "m" => b.to_owned(), None if pre == "" => a, _ => continue };
        let Some((k, v)) = a.split_once('=') else { continue };
        let v: u64 = v.parse().unwrap();
        match k { "switch" => c.switch = v, "push" => c.push.packet = v, "recv" => c.receive.packet = v, "crypt" => c.crypt.packet = v,
            "send" => c.send.packet = v, "take" => c.take.packet = v, "drain" => c.drain.packet = v, "r0" => c.remote[0] = v, "r1" => c.remote[1] = v,
            "r2" => c.remote[2] = v, "ipi" => c.ipi = v, "wake" => c.wake = v, "lock" => c.lock = v, "handoff" => c.handoff = v, "futex"=>c.futex=v,
            "sleeper"=>c.sleeper=v,"guarded"=>c.guarded=v,"patience"=>c.patience=v,"moderation"=>c.moderation=v, _ => panic!("{k}") }
    }
    c
}
fn paper(contender: Contender, tunnels: u32, flows: u32, seed: u64) -> Setup {
    let mut s = Setup::new(topology(32, 2), costs(), contender, tunnels);
    (s.packet, s.flows, s.seed) = (1368, flows, seed);
    (s.warmup, s.duration) = (60_000_000, 40_000_000);
    if contender.is_kernel() { s.batch = 1; s.tickets = 1024; }
    s
}
fn one(kind: StrategyKind, e: Contender) -> f64 { Machine::run(&paper(Contender { kind, ..e }, 1, 8, 1)).gigabits() }
fn main() {
    let what = std::env::args().nth(1).unwrap();
    let t = std::time::Instant::now();
    if what.contains('s') {
        for e in [Contender::SOFTIRQ, Contender::THREADED] {
            let v: Vec<f64> = [Pipelined, PipelinedNoOverlap, NumaPools, NumaPoolsNoOverlap].map(|k| one(k, e)).to_vec();
            println!("{:?} {v:.2?} gains {:.3} {:.3} {:.3} (1.14 1.31 1.45)", e.egress, v[1] / v[0], v[2] / v[0], v[3] / v[0]);
        }
        println!("inline {:.2} emu {:.2}", one(Inline, Contender::shipped(Inline)), one(EmulatedInline, Contender::shipped(EmulatedInline)));
    }
    if what.contains('d') { one(Pipelined, Contender::THREADED); }
    if what.contains('f') {
        for f in [1, 2, 4, 8, 16, 31] { print!("{f}: {:.2} ", Machine::run(&paper(Contender::THREADED, 1, f, 1)).gigabits()); }
        println!();
    }
    if what.contains('t') {
        for (n, c) in [("soft", Contender::SOFTIRQ), ("nsoft", Contender::NUMA_SOFTIRQ), ("thr", Contender::THREADED), ("nthr", Contender::NUMA_THREADED)] {
            print!("{n}: ");
            for tn in [1, 4, 8, 10, 12, 14, 16, 20, 24, 32] {
                let r = Machine::run(&paper(c, tn, 1, 1));
                print!("{tn}:{:.1}({:.0}% d{:.2} l{:.2}) ", r.gigabits(), r.busy.iter().sum::<u64>() as f64 / r.duration as f64 / 0.32, r.dropped as f64/r.packets as f64, r.locking as f64 / r.packets as f64/1000.0);
            }
            println!();
        }
        print!("inline ");
        for tn in [1, 2, 4, 8, 10, 12, 14, 16, 20, 24, 32] { print!("{tn}:{:.1} ", Machine::run(&paper(Contender::shipped(Inline), tn, 1, 1)).gigabits()); }
        println!();
    }
    if what.contains('m') {
        for k in [LockedMutex, LockedSpin] {
            print!("{k}: ");
            for cores in 1..=10 {
                let mut s = Setup::new(topology(cores, 1), with(Calibration::MoonWire.costs(), "m"), Contender::shipped(k), 1);
                (s.packet, s.flows, s.ring) = (64, 64, 8192);
                s.load = Load::Windowed { most: 1024 };
                s.shared_queues = true;
                let r = Machine::run(&s);
                print!("{cores}:{:.2}({:.0}%) ", r.mpps(), r.locking as f64 * 100. / r.busy.iter().sum::<u64>() as f64);
            }
            println!();
        }
    }
    if what.contains('v') {
        for cores in 1..=10 {
            let mut s = Setup::new(topology(cores + 1, 1), with(Calibration::MoonWire.costs(), "m"), Contender::VARIANT_3, 1);
            (s.packet, s.flows, s.ring) = (64, 64, 8192);
            s.load = Load::Windowed { most: 1024 };
            s.shared_queues = true;
            print!("{cores}:{:.2} ", Machine::run(&s).mpps());
        }
        println!();
    }
    if what.contains('g') {
        for nodes in [1, 2] { for cores in [8, 16, 32] { for packet in [64, 1420] {
            print!("{nodes} {cores} {packet}: ");
            for t in [1, 2, 4, 8, 12, 16, 32] {
                let rate = |k: StrategyKind| {
                    let mut s = Setup::new(topology(cores, nodes), Calibration::Modern.costs(), Contender::shipped(k), t);
                    (s.packet, s.link) = (packet, 4_000_000_000_000);
                    Machine::run(&s).mpps()
                };
                let all: Vec<(f64, StrategyKind)> = StrategyKind::ALL.iter().filter(|k| **k != Adaptive).map(|k| (rate(*k), *k)).collect();
                let best = all.iter().copied().fold((0.0, Inline), |a, b| if b.0 > a.0 { b } else { a });
                print!("{t}:{:.3}({}) ", rate(Adaptive) / best.0, best.1);
            }
            println!();
        } } }
    }
    if what.contains('o') {
        for (c, base, costs) in [(Contender::shipped(Inline), 1_200_000, Calibration::Modern.costs()), (Contender::shipped(Adaptive), 1_200_000, Calibration::Modern.costs()),
            (Contender::THREADED, 130_000, costs()), (Contender::SOFTIRQ, 130_000, costs())] {
            print!("{:?}: ", c);
            for p in [25, 50, 75, 100, 150, 200, 300, 400] {
                let mut s = Setup::new(topology(8, 1), costs, c, 8);
                s.link = 4_000_000_000_000;
                if c.is_kernel() { s.duration = 40_000_000; s.warmup = 20_000_000; }
                s.load = Load::Constant { rate: base * p / 100 };
                print!("{p}:{:.3} ", Machine::run(&s).mpps());
            }
            println!();
        }
    }
    if what.contains('b') {
        for c in [Contender::SOFTIRQ, Contender::THREADED] {
            let r = Machine::run(&paper(c, 8, 1, 1));
            println!("{:.1} {:?}", r.gigabits(), r.busy.iter().map(|b| b * 100 / r.duration).collect::<Vec<_>>());
        }
    }
    println!("{:?}", t.elapsed());
}
