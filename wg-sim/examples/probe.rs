use wg_sched::StrategyKind::{self, *};
use wg_sim::machine::*;
fn costs() -> Costs {
    let mut c = Calibration::Paper.costs();
    for a in std::env::args().skip(2) {
        let Some((k, v)) = a.split_once('=') else { continue };
        let v: u64 = v.parse().unwrap();
        match k { "switch" => c.switch = v, "push" => c.push.packet = v, "recv" => c.receive.packet = v, "crypt" => c.crypt.packet = v,
            "send" => c.send.packet = v, "take" => c.take.packet = v, "drain" => c.drain.packet = v, "r0" => c.remote[0] = v, "r1" => c.remote[1] = v,
            "r2" => c.remote[2] = v, "ipi" => c.ipi = v, "wake" => c.wake = v, "lock" => c.lock = v, "handoff" => c.handoff = v, "futex"=>c.futex=v,
            "sleeper"=>c.sleeper=v,"guarded"=>c.guarded=v,"patience"=>PATIENCE.store(v, std::sync::atomic::Ordering::Relaxed),"moderation"=>c.moderation=v, _ => panic!("{k}") }
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
        for (n, c) in [("soft", Contender::SOFTIRQ), ("thr", Contender::THREADED), ("nsoft", Contender::NUMA_SOFTIRQ), ("nthr", Contender::NUMA_THREADED)] {
            print!("{n}: ");
            for tn in [1, 2, 4, 8, 10, 12, 14, 16, 20, 24, 32] {
                let r = Machine::run(&paper(c, tn, 1, 1));
                print!("{tn}:{:.1}({:.0}% d{:.2} l{:.2}) ", r.gigabits(), r.busy.iter().sum::<u64>() as f64 / r.duration as f64 / 0.32, r.dropped as f64/r.packets as f64, r.locking as f64 / r.packets as f64/1000.0);
            }
            println!();
        }
        print!("inline ");
        for tn in [1, 2, 4, 8, 10, 12, 14, 16, 20, 24, 32] { print!("{tn}:{:.1} ", Machine::run(&paper(Contender::shipped(Inline), tn, 1, 1)).gigabits()); }
        println!();
    }
    if what.contains('b') {
        for c in [Contender::SOFTIRQ, Contender::THREADED] {
            let r = Machine::run(&paper(c, 8, 1, 1));
            println!("{:.1} {:?}", r.gigabits(), r.busy.iter().map(|b| b * 100 / r.duration).collect::<Vec<_>>());
        }
    }
    println!("{:?}", t.elapsed());
}
