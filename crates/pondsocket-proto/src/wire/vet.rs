//! The rules for payloads that are forwarded as they were received. JSON's grammar allows values that the parsers of
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

/// Returns whether the text of a number is beyond the range of a double.
pub(crate) fn is_too_large(number: &[u8]) -> bool {
    // The largest double has 309 digits, so only an exponent or hundreds of digits make a number too large. All other
    // numbers need not be parsed.
    let suspect = number.len() > 300 || number.iter().any(|byte| matches!(byte, b'e' | b'E'));
    let parsed = || std::str::from_utf8(number).ok()?.parse::<f64>().ok();
    suspect && !parsed().is_some_and(f64::is_finite)
}
