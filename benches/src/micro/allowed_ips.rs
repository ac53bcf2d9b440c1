//! The allowed-IPs table: lookups, building it, and its memory.

use std::rc::Rc;

use super::{Case, Plan, interleave, timed};
use crate::load::{AddressFamily, PREFIXES, Routes};
use crate::report::Row;

const SUBJECT: &str = "wg-datapath";

pub(super) fn run(plan: Plan, progress: impl FnMut(usize)) -> Vec<Row> {
    let sizes = PREFIXES.into_iter().flat_map(|count| AddressFamily::ALL.map(|family| (family, count)));
    let tables: Vec<_> = sizes.map(|(family, count)| (family, Rc::new(Routes::new(family, count)))).collect();
    let cases = tables.iter().flat_map(|(family, routes)| [lookup(*family, routes), build(*family, routes)]);
    let mut rows = interleave("allowed-ips", "ns", cases.collect(), plan, progress);
    rows.extend(tables.iter().map(|(family, routes)| {
        let case = format!("{} table of {}", family.name(), routes.prefixes());
        Row::new("allowed-ips", SUBJECT, &case, "memory", "B", &[routes.memory_bytes() as f64])
    }));
    rows
}

fn lookup(family: AddressFamily, routes: &Rc<Routes>) -> Case {
    let routes = Rc::clone(routes);
    let name = format!("{} lookup in {}", family.name(), routes.prefixes());
    Case::new(SUBJECT, name, move || timed(|| routes.lookup_all()))
}

/// One insertion, on the average of building the whole table.
fn build(family: AddressFamily, routes: &Rc<Routes>) -> Case {
    let routes = Rc::clone(routes);
    let name = format!("{} insert of {}", family.name(), routes.prefixes());
    Case::new(SUBJECT, name, move || {
        let (time, table) = timed(|| routes.build());
        (time, table.len() as u64)
    })
}
