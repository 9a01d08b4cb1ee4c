//! The check of payloads that are forwarded as they were received. JSON's grammar allows values that the parsers of
//! some clients reject (docs/protocol.md, Limits).

/// The deepest nesting of arrays and objects in a payload.
pub(crate) const MAX_DEPTH: usize = 100;

/// The reason for which a payload cannot be forwarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unsafe {
    /// Nested too deeply: parsers of some clients recurse.
    #[error("the payload is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Half a surrogate pair, which many parsers reject because it is not a character.
    #[error("the payload contains an unpaired surrogate")]
    Surrogate,
    /// A number beyond the range of a double, which some parsers reject and others read as infinity.
    #[error("the payload contains a number that is too large")]
    Number,
}

/// Checks the text of one valid JSON value in one pass.
pub(crate) fn vet(text: &str) -> Result<(), Unsafe> {
    let bytes = text.as_bytes();
    // Bytes, not characters: every byte that matters here is ASCII, and no byte of a longer character is.
    let (mut at, mut depth) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        at = match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Unsafe::TooDeep);
                }
                at + 1
            }
            b'}' | b']' => {
                // Never below 0: the text is valid JSON.
                depth -= 1;
                at + 1
            }
            b'"' => string(bytes, at + 1)?,
            b'-' | b'0'..=b'9' => number(bytes, at)?,
            // Literals, white space, commas and colons. No literal contains a digit.
            _ => at + 1,
        };
    }
    Ok(())
}

/// The position behind the string that begins at `at`.
fn string(bytes: &[u8], mut at: usize) -> Result<usize, Unsafe> {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' if bytes.get(at + 1) == Some(&b'u') => {
                match unit(bytes, at) {
                    // A high surrogate must be followed by the escape of a low one; both are skipped together.
                    Some(0xD800..=0xDBFF) if matches!(unit(bytes, at + 6), Some(0xDC00..=0xDFFF)) => at += 12,
                    Some(0xD800..=0xDFFF) => return Err(Unsafe::Surrogate),
                    _ => at += 6,
                };
            }
            // The escaped character is skipped, because it may be a quote.
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Ok(at)
}

/// The UTF-16 unit that `\uXXXX` at `at` means.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn number(bytes: &[u8], at: usize) -> Result<usize, Unsafe> {
    let part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let len = bytes[at..].iter().take_while(part).count();
    if is_too_large(&bytes[at..at + len]) { Err(Unsafe::Number) } else { Ok(at + len) }
}

/// Returns whether the text of a number is beyond the range of a double.
pub(crate) fn is_too_large(number: &[u8]) -> bool {
    // The largest double has 309 digits, so only an exponent or hundreds of digits make a number too large. All other
    // numbers need not be parsed.
    let suspect = number.len() > 300 || number.iter().any(|byte| matches!(byte, b'e' | b'E'));
    let parsed = || std::str::from_utf8(number).ok()?.parse::<f64>().ok();
    suspect && !parsed().is_some_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_limited() {
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(vet(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(vet(&nested(MAX_DEPTH + 1)), Err(Unsafe::TooDeep));
        assert_eq!(vet(&format!("\"{}\"", "[".repeat(500))), Ok(()), "brackets in a string");
        assert_eq!(vet(&format!("[{}{{}}]", "[],".repeat(500))), Ok(()), "one beside the other");
    }

    #[test]
    fn surrogates_come_in_pairs() {
        assert_eq!(vet(r#"{"a":"\ud83d\ude00 \u00e9 \\ud800"}"#), Ok(()));
        for text in [r#""\ud83d""#, r#""\ude00""#, r#""\ude00\ud83d""#, r#""\ud83d\\ude00""#, r#"{"\uD800x":1}"#] {
            assert_eq!(vet(text), Err(Unsafe::Surrogate), "{text}");
        }
    }

    #[test]
    fn numbers_fit_a_double() {
        assert_eq!(vet("[1.7976931348623157e308,5e-324,1e-999,-0.1,123456789012345678901234567890]"), Ok(()));
        assert_eq!(vet("[1e400]"), Err(Unsafe::Number));
        assert_eq!(vet(&format!("-{}", "9".repeat(400))), Err(Unsafe::Number));
    }
}
