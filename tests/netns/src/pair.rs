//! Two nodes joined by a cable.

use crate::veth::{self, Veth};
use crate::{Family, Launch, Node, Program};

/// Two nodes, numbers 1 and 2, joined by a veth pair, that do not know each other yet.
#[derive(Debug)]
pub struct Pair {
    /// Node 1, in most tests the one under test.
    pub a: Node,
    /// Node 2.
    pub b: Node,
    /// The cable: `first` is in the namespace of `a`.
    pub cable: Veth,
}

impl Pair {
    /// Starts the first program in node 1 and the second in node 2.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[track_caller]
    pub fn new([first, second]: [impl Into<Launch>; 2]) -> Self {
        let (a, b) = (Node::new(first, 1), Node::new(second, 2));
        let cable = veth::connect(&a.namespace, &b.namespace);
        a.plug_in(&cable.first);
        b.plug_in(&cable.second);
        Self { a, b, cable }
    }

    /// Lets the kernel split what is sent with `UDP_SEGMENT` before it is on the cable, as it is on a wire: a capture then sees
    /// each datagram.
    ///
    /// # Panics
    ///
    /// When `ip` fails.
    #[track_caller]
    pub fn split_before_the_cable(&self) {
        for (node, end) in [(&self.a, &self.cable.first), (&self.b, &self.cable.second)] {
            node.namespace.ip(&format!("link set {end} gso_max_segs 1"));
        }
    }

    /// Starts two programs that know each other's key and endpoint.
    ///
    /// # Panics
    ///
    /// When a step fails.
    #[track_caller]
    pub fn acquainted(programs: [Program; 2], outside: Family) -> Self {
        let pair = Self::new(programs);
        pair.acquaint(outside);
        pair
    }

    /// Makes each node a peer of the other, with its endpoint.
    ///
    /// # Panics
    ///
    /// When `wg` fails.
    #[track_caller]
    pub fn acquaint(&self, outside: Family) {
        self.a.add_peer(&self.b, Some(self.b.endpoint(outside)));
        self.b.add_peer(&self.a, Some(self.a.endpoint(outside)));
    }

    /// What [`Self::acquaint`] does, through the UAPI sockets and without `wg`.
    ///
    /// # Panics
    ///
    /// When a program refuses.
    #[track_caller]
    pub fn acquaint_directly(&self, outside: Family) {
        self.a.add_peer_directly(&self.b, self.b.endpoint(outside));
        self.b.add_peer_directly(&self.a, self.a.endpoint(outside));
    }
}
