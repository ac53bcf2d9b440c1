//! A cable between two namespaces.

use crate::Namespace;
use crate::cleanup;

/// The two ends of a veth pair, both up, MTU 1500. It goes away with either namespace.
#[derive(Clone, Debug)]
pub struct Veth {
    /// The interface in the first namespace.
    pub first: String,
    /// The interface in the second namespace.
    pub second: String,
}

/// Joins two namespaces.
///
/// # Panics
///
/// When `ip` fails.
#[track_caller]
pub fn connect(first: &Namespace, second: &Namespace) -> Veth {
    let veth = Veth { first: cleanup::unique_name(), second: cleanup::unique_name() };
    first.ip(&format!("link add {} type veth peer name {} netns {}", veth.first, veth.second, second.name()));
    first.ip(&format!("link set {} up", veth.first));
    second.ip(&format!("link set {} up", veth.second));
    veth
}
