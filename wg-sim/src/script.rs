//! What happens in a run: a seed, the nodes, and a list of [`Op`]s, plain data that can be printed, read, cut and kept.
//!
//! The text form has one line for each part; `#` begins a comment:
//!
//! ```text
//! seed 7
//! nodes peer device
//! link 0 1 loss 200
//! send 0 1 10 1420
//! advance 5000
//! ```
//!
//! The byte form is for fuzzing: every string of bytes is a script, a bounded one, and a change of one byte changes little.

mod bytes;
mod field;
mod op;
mod random;

pub use op::{Fault, Forgery, Op};
pub use random::Profile;

use core::fmt;

use crate::clock::WhichClock;

/// What kind of node a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A [`crate::PeerNode`]: of one peer, which is host 0, or host 1 if it is host 0 itself.
    Peer,
    /// A [`crate::DeviceNode`]: of all hosts that know it in turn.
    Device,
}

impl NodeKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Device => "device",
        }
    }
}

/// The most hosts of a run.
pub const MAX_HOSTS: usize = 8;

/// A run, before it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// All that chance decides in the run follows from it.
    pub seed: u64,
    /// The node of each host, two at least and [`MAX_HOSTS`] at most.
    pub nodes: Vec<NodeKind>,
    /// What happens, in order.
    pub ops: Vec<Op>,
}

/// A line that is not of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// Its number, from 1; 0 if what is wrong is missing.
    pub line: usize,
    /// The line.
    pub text: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {:?}", self.line, self.text)
    }
}

impl core::error::Error for ScriptError {}

impl Script {
    /// Makes a script in which nothing happens yet.
    #[must_use]
    pub fn new(seed: u64, nodes: &[NodeKind]) -> Self {
        Self { seed, nodes: nodes.to_vec(), ops: Vec::new() }
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// The first line that is wrong.
    ///
    /// # Examples
    ///
    /// ```
    /// let script = wg_sim::Script::parse("seed 7\nnodes peer peer\nsend 0 1 1 100\nadvance 1000\n")?;
    /// assert_eq!(script.to_string(), "seed 7\nnodes peer peer\nsend 0 1 1 100\nadvance 1000\n");
    /// # Ok::<(), wg_sim::ScriptError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::new(0, &[]);
        for (line, text) in (1..).zip(text.lines()) {
            let error = || ScriptError { line, text: text.to_owned() };
            let content = text.split('#').next().unwrap_or_default();
            let mut words = content.split_whitespace();
            match words.next() {
                None => {}
                Some("seed") => {
                    let seed = words.next().and_then(|word| word.parse().ok());
                    script.seed = seed.filter(|_| words.next().is_none()).ok_or_else(error)?;
                }
                Some("nodes") => {
                    script.nodes = words.map(node_kind).collect::<Option<_>>().ok_or_else(error)?;
                }
                Some(name) => {
                    let op = Op::parse(name, &mut words).filter(|_| words.next().is_none());
                    script.ops.push(op.ok_or_else(error)?);
                }
            }
        }
        if (2..=MAX_HOSTS).contains(&script.nodes.len()) {
            return Ok(script);
        }
        Err(ScriptError { line: 0, text: format!("nodes: two to {MAX_HOSTS}") })
    }

    /// Tells whether two hosts know each other: a device knows everybody, a peer its one counterpart.
    #[must_use]
    pub fn acquainted(&self, one: u8, other: u8) -> bool {
        let knows = |one: u8, other: u8| match self.nodes.get(usize::from(one)) {
            Some(NodeKind::Device) => one != other,
            Some(NodeKind::Peer) => other == u8::from(one == 0),
            None => false,
        };
        knows(one, other) && knows(other, one)
    }
}

fn node_kind(word: &str) -> Option<NodeKind> {
    [NodeKind::Peer, NodeKind::Device].into_iter().find(|kind| kind.word() == word)
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        let nodes: Vec<_> = self.nodes.iter().map(|kind| kind.word()).collect();
        writeln!(f, "nodes {}", nodes.join(" "))?;
        self.ops.iter().try_for_each(|op| writeln!(f, "{op}"))
    }
}

impl WhichClock {
    pub(crate) const ALL: &'static [(Self, &'static str)] =
        &[(Self::Monotonic, "monotonic"), (Self::Wall, "wall")];
}

#[cfg(test)]
mod tests;
