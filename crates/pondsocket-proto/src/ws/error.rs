//! Violations by the peer, and the close code that answers each.

use thiserror::Error;

/// A violation of the protocol or of our limits by the peer. The connection is to be closed with
/// [`close_code`](Self::close_code); the `Display` text is short enough to be the reason in that close frame.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set that no negotiated extension defines, or not for this frame (RFC 6455 section 5.2).
    #[error("reserved bits are set")]
    ReservedBits,
    /// The opcode is one of those kept for later versions (RFC 6455 section 5.2).
    #[error("reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    /// Frames from a client must be masked (RFC 6455 section 5.1).
    #[error("frame is not masked")]
    Unmasked,
    /// The length is not written in the fewest bytes that can hold it (RFC 6455 section 5.2).
    #[error("frame length is not minimally encoded")]
    LengthNotMinimal,
    /// The highest bit of a 64-bit length is set (RFC 6455 section 5.2).
    #[error("frame length exceeds 63 bits")]
    LengthOverflow,
    /// Control frames carry at most 125 bytes (RFC 6455 section 5.5).
    #[error("control frame is longer than 125 bytes")]
    ControlTooLong,
    /// Control frames must not be fragmented (RFC 6455 section 5.5).
    #[error("control frame is fragmented")]
    ControlFragmented,
    /// A continuation without a message to continue (RFC 6455 section 5.4).
    #[error("continuation frame without a message")]
    UnexpectedContinuation,
    /// A new message before the last one was finished (RFC 6455 section 5.4).
    #[error("new message inside a fragmented one")]
    ExpectedContinuation,
    /// A close frame with half a status code (RFC 6455 section 5.5.1).
    #[error("close frame of one byte")]
    CloseTooShort,
    /// A status code that must not be sent (RFC 6455 section 7.4).
    #[error("invalid close code {0}")]
    CloseCode(u16),
    /// Text, or the reason of a close frame, is not UTF-8 (RFC 6455 section 8.1).
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// A compressed message is not valid DEFLATE (RFC 7692 section 7.2.2).
    #[error("compressed message is corrupt")]
    InvalidDeflate,
    /// A frame, the message it belongs to, or that message inflated exceeds the limit.
    #[error("message exceeds {limit} bytes")]
    TooLarge {
        /// The limit in force.
        limit: usize,
    },
}

impl ProtocolError {
    /// The status code to close the connection with (RFC 6455 section 7.4.1): 1009 for a message that is too large,
    /// 1007 for content that contradicts its type, 1002 for everything else.
    pub fn close_code(&self) -> u16 {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate => 1007,
            Self::TooLarge { .. } => 1009,
            _ => 1002,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_follow_the_kind_of_violation() {
        assert_eq!(ProtocolError::Unmasked.close_code(), 1002);
        assert_eq!(ProtocolError::InvalidUtf8.close_code(), 1007);
        assert_eq!(ProtocolError::InvalidDeflate.close_code(), 1007);
        assert_eq!(ProtocolError::TooLarge { limit: 1 }.close_code(), 1009);
    }

    #[test]
    fn the_longest_texts_fit_into_a_close_frame() {
        assert!(ProtocolError::TooLarge { limit: usize::MAX }.to_string().len() <= 123);
        assert!(ProtocolError::CloseCode(u16::MAX).to_string().len() <= 123);
        assert!(ProtocolError::LengthNotMinimal.to_string().len() <= 123);
    }
}
