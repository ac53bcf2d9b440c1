//! Whether the time that a backend of `wg-aead` takes tells of its secrets, by statistics: two classes of secrets by turns in
//! random order, and the t-test of [`wg_secrets::welch`]. Not for a verdict of every day: clocks are noisy, and to find nothing is
//! no proof. A comparison that ends early is measured in the same way and must be found.

use core::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use wg_aead::{Backend, Key, OpenJob, SealJob, TAG_LEN};
use wg_secrets::welch::{Classes, SUSPECT};

/// Packets of a batch: full registers, and one alone, which some kernels have a way of their own for.
const COUNTS: [usize; 2] = [16, 1];
const LENGTHS: [usize; 3] = [0, 64, 1420];
/// How often a comparison must be suspect.
const TIMES: usize = 3;

fn main() -> ExitCode {
    let measurements = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let mut failed = 0;
    let ts = repeated(|| control(measurements));
    println!("{:<41} {}", "control: ends early", told(&ts));
    if !differ(&ts) {
        eprintln!("a comparison that ends early is not told apart: too few measurements, or too much noise");
        failed += 1;
    }
    for backend in Backend::available().filter(|backend| !matches!(backend.name(), "ring" | "rustcrypto")) {
        for (count, len) in COUNTS.into_iter().flat_map(|count| LENGTHS.map(|len| (count, len))) {
            let mut bench = Bench::new(backend.pure(), count, len);
            let comparisons: [(&str, Prepare, Work); 3] = [
                ("seal, key and text", Bench::prepare_seal, Bench::seal),
                ("open, key and text", Bench::prepare_open, Bench::open),
                ("open, which byte is forged", Bench::prepare_forged, Bench::open),
            ];
            for (what, prepare, work) in comparisons {
                let ts = repeated(|| bench.measure(measurements, prepare, work));
                failed += usize::from(differ(&ts));
                println!("{:<9}{count:>3} x{len:>5} B  {what:<27} {}", backend.name(), told(&ts));
            }
        }
    }
    println!(
        "{measurements} measurements each; a |t| of {SUSPECT} is suspect, and beyond doubt {TIMES} times in succession"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Prepare = fn(&mut Bench, usize);
type Work = fn(&mut Bench);

/// Measures again while what came of it is suspect: a machine that has other things to do is suspect now and then.
fn repeated(mut measure: impl FnMut() -> Classes) -> Vec<f64> {
    let mut ts = Vec::new();
    while ts.len() < TIMES && ts.last().is_none_or(|t: &f64| t.abs() >= SUSPECT) {
        ts.push(measure().t());
    }
    ts
}

/// Whether the classes differ: suspect as often as can be, and each time the same class is the slower.
fn differ(ts: &[f64]) -> bool {
    ts.len() == TIMES && (ts.iter().all(|t| *t >= SUSPECT) || ts.iter().all(|t| *t <= -SUSPECT))
}

fn told(ts: &[f64]) -> String {
    let ts: Vec<String> = ts.iter().map(|t| format!("{t:.1}")).collect();
    format!("t = {}", ts.join(", "))
}

/// A batch in memory that is the same for both classes.
struct Bench {
    backend: Backend,
    random: Random,
    key: Key,
    count: usize,
    packets: Vec<u8>,
    len: usize,
}

impl Bench {
    fn new(backend: Backend, count: usize, len: usize) -> Self {
        let packets = vec![0; count * (len + TAG_LEN)];
        Self { backend, random: Random(7), key: Key::new(&[0; 32]), count, packets, len }
    }

    /// Measures in random order; `prepare` gets the class, and does the same work for both.
    fn measure(&mut self, count: usize, prepare: Prepare, work: Work) -> Classes {
        let mut classes = Classes::default();
        for at in 0..count + count / 10 {
            let class = usize::from(self.random.next() & 1 == 1);
            prepare(self, class);
            let start = Instant::now();
            work(self);
            let taken = start.elapsed();
            // The first tenth warms up.
            if at >= count / 10 {
                classes.push(class, taken.as_nanos() as f64);
            }
        }
        classes
    }

    /// The first class has zeros for keys and texts, the second has others each time.
    fn prepare_seal(&mut self, class: usize) {
        // No jump on the class: what it leaves in the predictors would be measured.
        let mask = black_box(class as u64).wrapping_neg();
        let mut key = [0; 32];
        for bytes in key.as_chunks_mut::<8>().0 {
            *bytes = (self.random.next() & mask).to_le_bytes();
        }
        self.key = Key::new(&key);
        for bytes in self.packets.as_chunks_mut::<8>().0 {
            *bytes = (self.random.next() & mask).to_le_bytes();
        }
    }

    fn prepare_open(&mut self, class: usize) {
        self.prepare_seal(class);
        self.seal();
    }

    /// All packets are forged: in the first byte of the tag, or in the last.
    fn prepare_forged(&mut self, class: usize) {
        self.prepare_seal(1);
        self.seal();
        let at = self.len + (TAG_LEN - 1) * black_box(class);
        for packet in self.packets.chunks_exact_mut(self.len + TAG_LEN) {
            packet[at] ^= 1;
        }
    }

    fn seal(&mut self) {
        let mut packets = self.packets.chunks_exact_mut(self.len + TAG_LEN);
        let mut job = |counter| Some(SealJob::in_place(&self.key, counter, packets.next()?));
        if self.count == 1 {
            let Some(job) = job(0) else { return };
            self.backend.seal_batch(&mut [job]);
        } else {
            let jobs: [Option<SealJob<'_>>; 16] = core::array::from_fn(|at| job(at as u64));
            let mut jobs = jobs.map(|job| job.unwrap_or_else(|| unreachable!("sixteen packets")));
            self.backend.seal_batch(&mut jobs);
        }
    }

    fn open(&mut self) {
        let mut packets = self.packets.chunks_exact_mut(self.len + TAG_LEN);
        let mut job = |counter| Some(OpenJob::in_place(&self.key, counter, packets.next()?));
        if self.count == 1 {
            let Some(job) = job(0) else { return };
            self.backend.open_batch(&mut [job]);
        } else {
            let jobs: [Option<OpenJob<'_>>; 16] = core::array::from_fn(|at| job(at as u64));
            let mut jobs = jobs.map(|job| job.unwrap_or_else(|| unreachable!("sixteen packets")));
            self.backend.open_batch(&mut jobs);
        }
    }
}

/// Sixteen tags that differ in the first byte or in the last, compared byte by byte up to the difference.
fn control(count: usize) -> Classes {
    let (mut classes, mut random) = (Classes::default(), Random(9));
    for _ in 0..count {
        let class = usize::from(random.next() & 1 == 1);
        let (one, mut other) = ([[5_u8; TAG_LEN]; 16], [[5_u8; TAG_LEN]; 16]);
        for tag in &mut other {
            tag[(TAG_LEN - 1) * black_box(class)] ^= 1;
        }
        let start = Instant::now();
        for (one, other) in black_box(&one).iter().zip(black_box(&other)) {
            black_box(one.iter().zip(other).position(|(one, other)| black_box(one) != black_box(other)));
        }
        classes.push(class, start.elapsed().as_nanos() as f64);
    }
    classes
}

/// SplitMix64.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
