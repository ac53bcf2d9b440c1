//! Seal and open, per backend and size.

use wg_proto::aead::{Aead, RingAead, RustCryptoAead};

use super::{Case, Plan, interleave, timed};
use crate::load::{BATCH, Batch, SIZES};
use crate::report::Row;

pub(super) fn run(plan: Plan, progress: impl FnMut(usize)) -> Vec<Row> {
    let mut cases = Vec::new();
    let mut sizes = Vec::new();
    for size in SIZES {
        cases.extend([seal::<RustCryptoAead>("rustcrypto", size), seal::<RingAead>("ring", size)]);
        cases.extend([open::<RustCryptoAead>("rustcrypto", size), open::<RingAead>("ring", size)]);
        sizes.extend([size; 4]);
    }
    let times = interleave("crypto", "ns/packet", cases, plan, progress);
    let rate = |(time, size): (&Row, usize)| time.derive("goodput", "Gbit/s", |ns| size as f64 * 8.0 / ns);
    let rates: Vec<_> = times.iter().zip(sizes).map(rate).collect();
    times.into_iter().zip(rates).flat_map(|(time, rate)| [time, rate]).collect()
}

fn seal<A: Aead>(subject: &'static str, size: usize) -> Case {
    let mut batch = Batch::<A>::new(size);
    Case::new(subject, format_args!("seal {size} B"), move || (timed(|| batch.seal()).0, BATCH as u64))
}

fn open<A: Aead>(subject: &'static str, size: usize) -> Case {
    let mut batch = Batch::<A>::new(size);
    Case::new(subject, format_args!("open {size} B"), move || {
        batch.refill();
        (timed(|| batch.open()).0, BATCH as u64)
    })
}
