//! The payload of a close frame (RFC 6455 sections 5.5.1 and 7.4).

use super::ProtocolError;

/// The content of a close frame: the reason for which the peer closes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CloseFrame<'a> {
    /// The status code, one of those that may be sent.
    pub code: u16,
    /// Text for a human; often empty.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// Parses the payload of a close frame. An empty one is a close without a status code.
    pub(super) fn parse(payload: &'a [u8]) -> Result<Option<Self>, ProtocolError> {
        if payload.is_empty() {
            return Ok(None);
        }
        let Some((&code, reason)) = payload.split_first_chunk() else {
            return Err(ProtocolError::CloseTooShort);
        };
        let code = u16::from_be_bytes(code);
        if !may_be_sent(code) {
            return Err(ProtocolError::CloseCode(code));
        }
        // RFC 6455 section 5.5.1: the reason is UTF-8.
        let reason = str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
        Ok(Some(Self { code, reason }))
    }
}

/// Returns `true` for the codes that a close frame may carry. 1004 to 1006 and 1015 are never sent: they are reserved
/// for local use. 1016 to 2999 are reserved for later versions (RFC 6455 section 7.4.2). 1012 to 1014 were registered
/// after the RFC.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_be_sent() {
        let sendable: Vec<u16> = (0..=u16::MAX).filter(|code| may_be_sent(*code)).collect();
        let expected: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!(sendable, expected);
    }

    #[test]
    fn payloads() {
        assert_eq!(CloseFrame::parse(b""), Ok(None));
        assert_eq!(CloseFrame::parse(b"\x03"), Err(ProtocolError::CloseTooShort));
        assert_eq!(CloseFrame::parse(b"\x03\xe8"), Ok(Some(CloseFrame { code: 1000, reason: "" })));
        assert_eq!(CloseFrame::parse(b"\x0f\xa0bye"), Ok(Some(CloseFrame { code: 4000, reason: "bye" })));
        assert_eq!(CloseFrame::parse(b"\x03\xed"), Err(ProtocolError::CloseCode(1005)));
        assert_eq!(CloseFrame::parse(b"\x03\xe8\xff"), Err(ProtocolError::InvalidUtf8));
    }
}
