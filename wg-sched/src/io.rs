//! What a strategy may touch: one core's view of the datapath.
//!
//! Every effect of a step goes through [`CoreIo`]. On a machine it moves slabs; in a simulator it moves lengths and charges
//! virtual time. The batch is the implementor's own type: a strategy moves batches and never looks inside.

/// A stage of the packet walk, for [`CoreIo::charge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Reading a batch from a queue, up to the end of its begin phase.
    Receive,
    /// The crypt phase.
    Crypt,
    /// Commit and delivery.
    Send,
    /// Handshakes and timers.
    Control,
}

/// One core's view of the datapath.
///
/// A batch that was polled has passed its begin phase: its session is known and its counters are reserved. It is then
/// owed exactly one `crypt` and one `send_*`, in this order; batches of one peer and direction are sent in the order
/// they were polled in.
pub trait CoreIo {
    /// A batch of packets of one peer in one direction.
    type Batch;

    /// Takes the next batch of datagrams from the core's sockets, in arrival order. Never blocks.
    fn poll_udp(&mut self) -> Option<Self::Batch>;

    /// Takes the next batch of packets from the core's TUN queue, in arrival order. Never blocks. None while the
    /// sockets push back: then the kernel's queue fills, and its sender notices.
    fn poll_tun(&mut self) -> Option<Self::Batch>;

    /// The packets of a batch: what its crypt phase is worth.
    fn packets(&self, batch: &Self::Batch) -> u32;

    /// Opens or seals batches; small ones cost less together. Any core may do this, at any time between the poll and the send.
    fn crypt(&mut self, batches: &mut [Self::Batch]);

    /// Commits opened packets and delivers them to the TUN queue.
    fn send_tun(&mut self, batch: Self::Batch);

    /// Sends sealed datagrams.
    fn send_udp(&mut self, batch: Self::Batch);

    /// Does one piece of work that is not a packet: a handshake message, a timer. Tells whether there was any.
    fn poll_control(&mut self) -> bool;

    /// Accounts for work done. Free on a machine; in a simulator it moves the core's clock.
    fn charge(&mut self, _stage: Stage, _batches: u32) {}
}
