//! Runs scripts.

use crate::node::{DeviceNode, Node, NodeSpec, PeerNode};
use crate::report::Report;
use crate::script::{NodeKind, Script};
use crate::violation::Violation;
use crate::world::{Factory, World};

/// Makes the nodes of this crate.
#[must_use]
pub fn standard_node(kind: NodeKind, spec: NodeSpec) -> Box<dyn Node> {
    match kind {
        NodeKind::Peer => Box::new(PeerNode::new(spec)),
        NodeKind::Device => Box::new(DeviceNode::new(spec)),
    }
}

/// Runs a script with the nodes of this crate.
///
/// # Errors
///
/// The first invariant that was broken.
pub fn run(script: &Script) -> Result<Report, Violation> {
    run_with(script, &mut standard_node)
}

/// Runs a script with nodes of `factory`.
///
/// # Errors
///
/// The first invariant that was broken.
pub fn run_with<'f>(script: &Script, factory: &'f mut Factory<'f>) -> Result<Report, Violation> {
    let mut world = World::new(script, factory);
    for op in &script.ops {
        world.apply(*op)?;
    }
    world.finish()
}
