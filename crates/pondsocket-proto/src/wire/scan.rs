//! One pass over JSON text. It checks the grammar, and notes the parts that must not reach clients.

use super::vet::{MAX_DEPTH, Unsafe, is_too_large};

/// The reason for which a text cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ScanError {
    /// The text is not one JSON object.
    Syntax,
    /// A known field occurs twice.
    Repeated,
}

/// Properties of a value that are noted in the pass over it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Notes {
    /// The first part that must not reach clients.
    pub(super) fault: Option<Unsafe>,
    /// True if the white space between the parts of the value breaks the line.
    pub(super) has_breaks: bool,
    /// True if a string in it is not its own decoded form.
    pub(super) has_escapes: bool,
}

impl Notes {
    fn fault(&mut self, fault: Unsafe) {
        self.fault.get_or_insert(fault);
    }
}

// The functions below take the position of what they read, and return the position behind it. A position in a variable
// is faster than one in a struct.

/// Reads a value of any kind, however deeply nested.
pub(super) fn value(bytes: &[u8], at: usize, notes: &mut Notes) -> Result<usize, ScanError> {
    match bytes.get(at) {
        Some(b'{' | b'[') => nested(bytes, at, notes),
        _ => flat(bytes, at, notes),
    }
}

/// Reads a string, a number or a literal.
fn flat(bytes: &[u8], at: usize, notes: &mut Notes) -> Result<usize, ScanError> {
    match bytes.get(at) {
        Some(b'"') => string(bytes, at, notes),
        Some(b'-' | b'0'..=b'9') => number(bytes, at, notes),
        Some(b't') => literal(bytes, at, b"true"),
        Some(b'f') => literal(bytes, at, b"false"),
        Some(b'n') => literal(bytes, at, b"null"),
        _ => Err(ScanError::Syntax),
    }
}

/// Reads an array or an object. In a loop and not by recursion, because the sender chooses the depth.
fn nested(bytes: &[u8], mut at: usize, notes: &mut Notes) -> Result<usize, ScanError> {
    let mut nesting = Nesting::default();
    loop {
        match bytes.get(at) {
            Some(open @ (b'{' | b'[')) => {
                let is_object = *open == b'{';
                nesting.open(is_object);
                if nesting.depth > MAX_DEPTH {
                    notes.fault(Unsafe::TooDeep);
                }
                at = space(bytes, at + 1, notes);
                if !matches!(bytes.get(at), Some(b'}' | b']')) {
                    at = if is_object { name(bytes, at, notes)? } else { at };
                    continue;
                }
            }
            _ => at = flat(bytes, at, notes)?,
        }
        // Behind a value, or in an empty array or object.
        loop {
            let Some(is_object) = nesting.is_object() else { return Ok(at) };
            at = space(bytes, at, notes);
            match bytes.get(at) {
                Some(b',') => {
                    at = space(bytes, at + 1, notes);
                    at = if is_object { name(bytes, at, notes)? } else { at };
                    break;
                }
                Some(b'}') if is_object => nesting.close(),
                Some(b']') if !is_object => nesting.close(),
                _ => return Err(ScanError::Syntax),
            }
            at += 1;
        }
    }
}

/// Checks that one valid JSON value may reach clients.
pub(crate) fn vet(text: &str) -> Result<(), Unsafe> {
    let (bytes, mut notes) = (text.as_bytes(), Notes::default());
    // The text is valid, so only the notes are of interest.
    let _ = value(bytes, skip_space(bytes, 0), &mut notes);
    notes.fault.map_or(Ok(()), Err)
}

/// Reads an object that may reach clients as it is: it has no fault, and no white space in it breaks the line.
pub(crate) fn safe_object(bytes: &[u8], at: usize) -> Option<usize> {
    let mut notes = Notes::default();
    let end = (bytes.get(at) == Some(&b'{')).then(|| nested(bytes, at, &mut notes).ok())??;
    (notes.fault.is_none() && !notes.has_breaks).then_some(end)
}

/// Reads the name of a field, the colon, and the white space around it.
fn name(bytes: &[u8], at: usize, notes: &mut Notes) -> Result<usize, ScanError> {
    let at = string(bytes, at, notes)?;
    let at = space(bytes, at, notes);
    Ok(space(bytes, behind(bytes, at, b':')?, notes))
}

/// Reads a string, and checks its escapes.
pub(super) fn string(bytes: &[u8], at: usize, notes: &mut Notes) -> Result<usize, ScanError> {
    let mut at = behind(bytes, at, b'"')?;
    loop {
        at = plain(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(bytes, at, notes)?,
            // A control character, or the end.
            _ => return Err(ScanError::Syntax),
        }
    }
}

/// Reads bytes up to the first quote, backslash or control character.
pub(crate) fn plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Sets the high bit of the lowest byte of `word` that is below `limit` (of 0x80 at most), and no bit below it.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
    // Eight bytes at a time: most of a message is inside of strings.
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = quote | backslash | below(word, 0x20);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while matches!(bytes.get(at), Some(byte) if !matches!(byte, b'"' | b'\\' | 0..0x20)) {
        at += 1;
    }
    at
}

#[cold]
fn escape(bytes: &[u8], at: usize, notes: &mut Notes) -> Result<usize, ScanError> {
    notes.has_escapes = true;
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match unit(bytes, at).ok_or(ScanError::Syntax)? {
            // A pair is skipped as a whole.
            0xD800..=0xDBFF if matches!(unit(bytes, at + 6), Some(0xDC00..=0xDFFF)) => Ok(at + 12),
            0xD800..=0xDFFF => {
                notes.fault(Unsafe::Surrogate);
                Ok(at + 6)
            }
            _ => Ok(at + 6),
        },
        _ => Err(ScanError::Syntax),
    }
}

/// The UTF-16 unit that the escape `\uXXXX` at `at` means.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}

fn number(bytes: &[u8], start: usize, notes: &mut Notes) -> Result<usize, ScanError> {
    let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
    // No digit follows a leading zero.
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at = digits(bytes, at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-'))))?;
    }
    if is_too_large(&bytes[start..at]) {
        notes.fault(Unsafe::Number);
    }
    Ok(at)
}

fn digits(bytes: &[u8], start: usize) -> Result<usize, ScanError> {
    let mut at = start;
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    if at > start { Ok(at) } else { Err(ScanError::Syntax) }
}

fn literal(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, ScanError> {
    if bytes[at..].starts_with(word) { Ok(at + word.len()) } else { Err(ScanError::Syntax) }
}

/// Reads the colon between the name of a field and its value, and the white space around it.
pub(super) fn colon(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    Ok(skip_space(bytes, behind(bytes, skip_space(bytes, at), b':')?))
}

/// Reads the white space between the parts of a value.
fn space(bytes: &[u8], start: usize, notes: &mut Notes) -> usize {
    let at = skip_space(bytes, start);
    if at > start {
        notes.has_breaks |= bytes[start..at].iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    }
    at
}

pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Reads one byte, which has to be this one.
pub(super) fn behind(bytes: &[u8], at: usize, byte: u8) -> Result<usize, ScanError> {
    if bytes.get(at) == Some(&byte) { Ok(at + 1) } else { Err(ScanError::Syntax) }
}

/// The arrays and objects that are open, one bit for each: the usual depths need no allocation.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    /// The innermost of up to 64, the last one in the lowest bit: 1 for an object.
    inner: u64,
    /// The words of 64 around them.
    outer: Vec<u64>,
}

impl Nesting {
    fn open(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.inner);
        }
        self.inner = self.inner << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.inner >>= 1;
        if self.depth.is_multiple_of(64)
            && let Some(outer) = self.outer.pop()
        {
            self.inner = outer;
        }
    }

    /// Returns whether the innermost one is an object; `None` if none is open.
    fn is_object(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.inner & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;
    use crate::wire::fields::{Values, fields};

    fields! {
        /// Two fields.
        TestField { scalar: Name "name"; raw: Raw "raw"; }
    }

    /// The notes about one value, without white space around it.
    fn scanned(text: &str) -> Option<Notes> {
        let mut notes = Notes::default();
        let end = value(text.as_bytes(), 0, &mut notes).ok()?;
        (end == text.len()).then_some(notes)
    }

    #[test]
    fn nesting_may_be_of_any_depth_and_is_noted() {
        for depth in [1, 63, 64, 65, 100, 101, 128, 129, 10_000] {
            let arrays = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
            let mixed = format!("{}1{}", "[{\"a\":".repeat(depth), "}]".repeat(depth));
            for (value, depth) in [(arrays, depth), (objects, depth), (mixed, depth * 2)] {
                let fault = (depth > MAX_DEPTH).then_some(Unsafe::TooDeep);
                assert_eq!(scanned(&value).map(|notes| notes.fault), Some(fault));
                assert!(scanned(&value[..value.len() - 1]).is_none());
            }
        }
        let wrong = format!("{}1{}", "[".repeat(65), "]".repeat(64) + "}");
        assert!(scanned(&wrong).is_none());
    }

    #[test]
    fn the_first_special_byte_is_found_at_every_place() {
        for special in [b'"', b'\\', 0, 0x1f, b'\n'] {
            for at in 0..20 {
                let mut bytes = vec![b' '; 20];
                (bytes[at], bytes[19]) = (special, b'"');
                assert_eq!(plain(&bytes, 0), at);
            }
        }
        assert_eq!(plain("ü\u{7f}\u{80}!#[]~ÿ".as_bytes(), 0), "ü\u{7f}\u{80}!#[]~ÿ".len());
    }

    /// The same check by plain means, which the pass is compared with.
    mod reference {
        use super::{MAX_DEPTH, Unsafe, is_too_large};

        /// Checks the text of one valid JSON value in one pass.
        pub(super) fn vet(text: &str) -> Result<(), Unsafe> {
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
    }

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

    /// Texts that are JSON, or nearly.
    fn almost_json() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\n",
            "\"",
            "\"a\"",
            "\"name\"",
            "\"raw\"",
            "\\",
            "\\u",
            "d800",
            "\\ud83d",
            "\\ude00",
            "\\\"",
            "-",
            "0",
            "1",
            "9",
            ".",
            "e",
            "E",
            "+",
            "true",
            "false",
            "null",
            "é",
            "\u{1}",
            "1e400",
            "01",
            "\"raw\":",
            "{\"a\":",
            "[]",
            "{}",
            "\"\\ud800\"",
        ]);
        prop::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_grammar_is_that_of_serde_json(text in almost_json()) {
            let text = format!("{{\"raw\":{text}}}");
            let parsed = serde_json::from_str::<std::collections::BTreeMap<String, &RawValue>>(&text);
            // A repeated field ends the pass early, and counts as none in the map.
            let mut values = Values::<{ TestField::COUNT }>::default();
            match values.read::<TestField>(&text) {
                Err(ScanError::Repeated) => {}
                // serde_json does not say which part of the object it dislikes, so a field of which it cannot hold the
                // value is tried as null.
                Err(ScanError::Syntax) => prop_assert!(parsed.is_err() || text.contains("\"name\"")),
                Ok(()) => {
                    let parsed = parsed.map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
                    let value = values.get(TestField::Raw);
                    let expected = parsed.get("raw").map(|raw| raw.get()).filter(|raw| *raw != "null");
                    prop_assert_eq!(value.map(|value| value.text), expected);
                    if let Some(value) = value {
                        prop_assert_eq!(value.fault(), reference::vet(value.text).err());
                        prop_assert_eq!(value.has_breaks(), value.text.contains(['\n', '\r']));
                    }
                }
            }
        }
    }
}
