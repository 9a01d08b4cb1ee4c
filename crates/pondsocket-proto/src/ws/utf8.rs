//! Validation of text that arrives in pieces.

use super::ProtocolError;

/// The text that has arrived so far. A piece may end inside a character; the bytes of that character, three at most,
/// are kept in `tail`.
///
/// An invalid byte is refused when it arrives, not when the message is complete (RFC 6455 section 8.1).
#[derive(Debug, Default)]
pub(super) struct PartialText {
    text: String,
    tail: [u8; 4],
    tail_len: usize,
}

impl PartialText {
    pub(super) fn len(&self) -> usize {
        self.text.len() + self.tail_len
    }

    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }

    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        let piece = self.complete_tail(piece)?;
        let (valid, rest) = longest_valid(piece)?;
        self.text.push_str(valid);
        self.tail[self.tail_len..][..rest.len()].copy_from_slice(rest);
        self.tail_len += rest.len();
        Ok(())
    }

    /// The whole text, unless it ends inside a character.
    pub(super) fn finish(self) -> Result<String, ProtocolError> {
        if self.tail_len > 0 {
            return Err(ProtocolError::InvalidUtf8);
        }
        Ok(self.text)
    }

    /// Adds bytes to the incomplete character until it is complete. Returns the rest of the piece.
    fn complete_tail<'p>(&mut self, mut piece: &'p [u8]) -> Result<&'p [u8], ProtocolError> {
        while self.tail_len > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                break;
            };
            piece = rest;
            self.tail[self.tail_len] = byte;
            self.tail_len += 1;
            // Checked after each byte, so that an invalid one is refused before the character is complete.
            let (valid, _) = longest_valid(&self.tail[..self.tail_len])?;
            if !valid.is_empty() {
                self.text.push_str(valid);
                self.tail_len = 0;
            }
        }
        Ok(piece)
    }
}

/// Splits `bytes` into text and the start of one more character, which may be empty.
fn longest_valid(bytes: &[u8]) -> Result<(&str, &[u8]), ProtocolError> {
    let error = match str::from_utf8(bytes) {
        Ok(text) => return Ok((text, &[])),
        Err(error) => error,
    };
    // `error_len` is `None` only if the end of the input cuts a character, which the next piece may complete.
    if error.error_len().is_some() {
        return Err(ProtocolError::InvalidUtf8);
    }
    let (valid, rest) = bytes.split_at(error.valid_up_to());
    let valid = str::from_utf8(valid).map_err(|_| ProtocolError::InvalidUtf8)?;
    Ok((valid, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<String, ProtocolError> {
        let mut text = PartialText::default();
        for piece in pieces {
            text.append(piece)?;
        }
        text.finish()
    }

    #[test]
    fn characters_may_be_split_anywhere() {
        let text = "aµ€😀\u{10ffff}z";
        let bytes = text.as_bytes();
        assert_eq!(collect(bytes.chunks(1)).as_deref(), Ok(text));
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(collect(pieces).as_deref(), Ok(text));
            }
        }
    }

    #[test]
    fn a_wrong_byte_is_refused_as_soon_as_it_is_seen() {
        // Overlong forms, surrogates, beyond U+10FFFF, a stray continuation, an interrupted character.
        let cases: [&[u8]; 9] = [
            b"\xc0",
            b"\xe0\x80",
            b"\xf0\x80",
            b"\xed\xa0",
            b"\xf4\x90",
            b"\xf5",
            b"\x80",
            b"\xe2\x82a",
            b"\xf0\x9f\x98\xc3",
        ];
        for case in cases {
            let (wrong, before) = case.split_last().unwrap();
            let mut text = PartialText::default();
            text.append(b"ok").unwrap();
            for byte in before {
                text.append(&[*byte]).unwrap();
            }
            assert_eq!(text.append(&[*wrong]), Err(ProtocolError::InvalidUtf8), "{case:x?}");
        }
    }

    #[test]
    fn text_must_not_end_inside_a_character() {
        assert_eq!(collect([&b"\xe2\x82"[..]]), Err(ProtocolError::InvalidUtf8));
        let mut text = PartialText::default();
        text.append(b"a\xe2\x82").unwrap();
        assert_eq!(text.len(), 3);
    }

    #[test]
    fn a_character_counts_as_far_as_it_has_arrived() {
        let mut text = PartialText::default();
        assert_eq!((text.len(), text.capacity()), (0, 0));
        for (arrived, byte) in (1..).zip("a😀€".bytes()) {
            text.append(&[byte]).unwrap();
            assert_eq!(text.len(), arrived);
        }
        assert!((8..100).contains(&text.capacity()));
    }
}
