//! Why a packet was neither sealed nor opened, by whose fault it was.

/// Why a packet was neither sealed nor opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AeadError {
    /// The job has not been run.
    Pending,
    /// A buffer is too small: the fault of the caller. Nothing was written.
    BufferTooSmall {
        /// Bytes it must have.
        need: usize,
        /// Bytes it has.
        have: usize,
    },
    /// The text is longer than [`MAX_LEN`](crate::MAX_LEN): the fault of the caller. Nothing was written.
    TooLong {
        /// Bytes it has.
        have: usize,
    },
    /// The checksum field does not lie in what it covers, or not in the packet: the fault of the caller. Nothing was
    /// sealed.
    ChecksumOutside,
    /// The tag does not verify: the fault of the sender. No plaintext was written.
    TagMismatch,
}

impl core::fmt::Display for AeadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Pending => f.write_str("the job has not been run"),
            Self::BufferTooSmall { need, have } => {
                write!(f, "buffer of {have} bytes where {need} are needed")
            }
            Self::TooLong { have } => write!(f, "text of {have} bytes where {} are the most", crate::MAX_LEN),
            Self::ChecksumOutside => f.write_str("checksum field outside of the packet"),
            Self::TagMismatch => f.write_str("tag does not verify"),
        }
    }
}

impl core::error::Error for AeadError {}
