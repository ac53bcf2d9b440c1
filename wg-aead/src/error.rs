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
    /// The checksum field does not lie in the packet, as it was given without padding: the fault of the caller. Nothing was
    /// sealed; the head and what of the body shares its last block may have been put together.
    ChecksumOutside,
    /// The tag does not verify: the fault of the sender. No plaintext was written.
    TagMismatch,
}

/// What came of a job, in fewer bytes: jobs are moved about by those who make them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pending,
    Done,
    BufferTooSmall { need: u32, have: u32 },
    TooLong { have: u32 },
    ChecksumOutside,
    TagMismatch,
}

impl Outcome {
    /// A buffer that is too small. Beyond what 32 bits hold, the numbers say "so much or more".
    pub(crate) fn too_small(need: usize, have: usize) -> Self {
        Self::BufferTooSmall { need: saturated(need), have: saturated(have) }
    }

    /// A text that is too long.
    pub(crate) fn too_long(have: usize) -> Self {
        Self::TooLong { have: saturated(have) }
    }

    #[inline]
    pub(crate) const fn result(self) -> Result<(), AeadError> {
        Err(match self {
            Self::Done => return Ok(()),
            Self::Pending => AeadError::Pending,
            Self::BufferTooSmall { need, have } => {
                AeadError::BufferTooSmall { need: need as usize, have: have as usize }
            }
            Self::TooLong { have } => AeadError::TooLong { have: have as usize },
            Self::ChecksumOutside => AeadError::ChecksumOutside,
            Self::TagMismatch => AeadError::TagMismatch,
        })
    }
}

/// A length in 32 bits, or the most they hold.
fn saturated(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
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
