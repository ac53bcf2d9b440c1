//! scratch
use wg_sim::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (from, to): (u64, u64) = (a[1].parse().unwrap(), a[2].parse().unwrap());
    let profile = match a[3].as_str() {
        "n" => Profile::Network,
        "h" => Profile::Hostile,
        _ => Profile::Everything,
    };
    let ops = a[4].parse().unwrap();
    let mut total = Counts::default();
    for seed in from..to {
        let s = Script::random(seed, profile, ops);
        match run(&s) {
            Ok(r) => total.add(&r.counts),
            Err(v) => println!("{v}"),
        }
    }
    println!("{}", Report { counts: total, ..Report::default() });
}
