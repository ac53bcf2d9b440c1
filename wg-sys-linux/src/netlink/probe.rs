//! What a buffer of rtnetlink holds, as the socket would read it.

use super::{Request, result_of};

/// A message without its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetlinkMessage<'a> {
    /// The type.
    pub kind: u16,
    /// The sequence number.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// What an answer comes to: a payload, empty for an acknowledgement, or an error number.
pub type Answer = Result<Vec<u8>, i32>;

/// Reads the messages in a buffer, up to the first malformed one.
#[must_use]
pub fn messages(bytes: &[u8]) -> Vec<NetlinkMessage<'_>> {
    super::messages(bytes)
        .map(|super::Message { kind, sequence, payload }| NetlinkMessage { kind, sequence, payload })
        .collect()
}

/// Reads attributes as type and value, up to the first malformed one.
#[must_use]
pub fn attributes(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    super::attributes(bytes).collect()
}

/// Finds the answer to question number `sequence` in a buffer; none if it is not there.
#[must_use]
pub fn answer_to(bytes: &[u8], sequence: u32) -> Option<Answer> {
    let answer = super::messages(bytes).find(|message| message.sequence == sequence)?;
    Some(result_of(answer).map_err(rustix::io::Errno::raw_os_error))
}

/// Builds a command with one attribute.
#[must_use]
pub fn command(kind: u16, fixed: &[u8], attribute: (u16, &[u8]), sequence: u32) -> Vec<u8> {
    Request::command(kind, fixed).attribute(attribute.0, attribute.1).finish(sequence)
}
