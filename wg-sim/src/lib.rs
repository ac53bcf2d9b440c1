#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod adversary;
mod audit;
mod clock;
mod draw;
mod ledger;
mod link;
pub mod machine;
pub mod matrix;
pub mod model;
pub mod node;
pub mod packet;
mod report;
mod run;
pub mod script;
mod shrink;
mod violation;
mod wire;
mod world;

pub use clock::{Clock, MILLISECOND, SECOND, Time, WhichClock};
pub use draw::{BrokenEntropy, Draw, Entropy, mix};
pub use node::{Command, DeviceNode, Node, NodeSpec, Outbox, PeerNode, PeerSpec};
pub use report::{Counts, Report};
pub use run::{run, run_with, standard_node};
pub use script::{Fault, Forgery, NodeKind, Op, Profile, Script, ScriptError};
pub use shrink::shrink;
pub use violation::{Invariant, Violation};
pub use world::{Factory, RECOVERY, World};
