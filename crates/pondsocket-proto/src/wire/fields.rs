//! The known fields of a message, of a client or of another node: their values as slices of its text, found in one pass.

use std::borrow::Cow;

use super::scan::{Notes, ScanError, behind, colon, skip_space, string, value};
use super::vet::Unsafe;

/// The known fields of an object: an enum whose variants are numbered from 0.
pub(crate) trait KnownField: Copy {
    /// The field of this name.
    fn named(name: &str) -> Option<Self>;

    /// The number of the field, below 64.
    fn index(self) -> usize;

    /// Returns whether the value is decoded as a text or a number. Half a surrogate pair or an infinite number, which no
    /// Rust value holds, is then a fault of the whole object.
    fn is_scalar(self) -> bool;
}

/// Declares the fields of an object: those that are decoded, and those that are kept as text.
macro_rules! fields {
    ($(#[$doc:meta])* $enum:ident { scalar: $($scalar:ident $scalar_name:literal),*; raw: $($raw:ident $raw_name:literal),*; }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        enum $enum { $($scalar,)* $($raw,)* }

        impl $enum {
            const COUNT: usize = [$($scalar_name,)* $($raw_name,)*].len();
        }

        impl $crate::wire::fields::KnownField for $enum {
            fn named(name: &str) -> Option<$enum> {
                Some(match name {
                    $($scalar_name => $enum::$scalar,)*
                    $($raw_name => $enum::$raw,)*
                    _ => return None,
                })
            }

            fn index(self) -> usize {
                self as usize
            }

            fn is_scalar(self) -> bool {
                matches!(self, $($enum::$scalar)|*)
            }
        }
    };
}

pub(crate) use fields;

/// The text of one JSON value, without white space around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) text: &'a str,
    notes: Notes,
}

/// The values of the known fields of an object. A value that is null counts as missing.
pub(crate) struct Values<'a, const N: usize>([Option<Value<'a>>; N]);

impl<const N: usize> Default for Values<'_, N> {
    fn default() -> Self {
        Values([None; N])
    }
}

impl<'a, const N: usize> Values<'a, N> {
    /// Reads the text of one object. In place, because the values of all fields are half a kilobyte.
    pub(crate) fn read<F: KnownField>(&mut self, text: &'a str) -> Result<(), ScanError> {
        let bytes = text.as_bytes();
        let (mut at, mut seen) = (behind(bytes, skip_space(bytes, 0), b'{')?, 0_u64);
        at = skip_space(bytes, at);
        let mut is_open = bytes.get(at) != Some(&b'}');
        while is_open {
            let (start, mut notes) = (at, Notes::default());
            at = string(bytes, at, &mut notes)?;
            let field = if notes.has_escapes {
                // Fails for half a surrogate pair.
                F::named(&serde_json::from_str::<String>(&text[start..at]).map_err(|_| ScanError::Syntax)?)
            } else {
                F::named(&text[start + 1..at - 1])
            };
            if let Some(field) = field {
                let bit = 1 << field.index();
                if seen & bit != 0 {
                    return Err(ScanError::Repeated);
                }
                seen |= bit;
            }
            let start = colon(bytes, at)?;
            notes = Notes::default();
            at = value(bytes, start, &mut notes)?;
            if let Some(field) = field {
                let value = Value { text: &text[start..at], notes };
                if field.is_scalar() && value.is_unreadable() {
                    return Err(ScanError::Syntax);
                }
                self.0[field.index()] = (value.text != "null").then_some(value);
            }
            at = skip_space(bytes, at);
            is_open = bytes.get(at) == Some(&b',');
            if is_open {
                at = skip_space(bytes, at + 1);
            }
        }
        at = behind(bytes, at, b'}')?;
        if skip_space(bytes, at) == bytes.len() { Ok(()) } else { Err(ScanError::Syntax) }
    }

    /// The value of a field.
    pub(crate) fn get(&self, field: impl KnownField) -> Option<Value<'a>> {
        self.0[field.index()]
    }
}

impl<'a> Value<'a> {
    /// The first part that must not reach clients.
    pub(crate) fn fault(&self) -> Option<Unsafe> {
        self.notes.fault
    }

    /// Returns whether the white space between the parts of the value breaks the line.
    pub(crate) fn has_breaks(&self) -> bool {
        self.notes.has_breaks
    }

    /// The value of a scalar field, if it is a string.
    pub(crate) fn as_text(&self) -> Option<Cow<'a, str>> {
        match self.text.as_bytes() {
            // The pass has checked the escapes of a scalar field, so decoding does not fail.
            [b'"', ..] if self.notes.has_escapes => serde_json::from_str(self.text).ok().map(Cow::Owned),
            [b'"', inner @ .., b'"'] => Some(Cow::Borrowed(&self.text[1..=inner.len()])),
            _ => None,
        }
    }

    /// Returns whether the value is a text or a number that no Rust value holds.
    fn is_unreadable(self) -> bool {
        self.notes.fault.is_some() && !self.text.starts_with(['{', '['])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fields! {
        /// Two fields.
        TestField { scalar: Name "name"; raw: Raw "raw"; }
    }

    fn scan(text: &str) -> Result<Values<'_, { TestField::COUNT }>, ScanError> {
        let mut values = Values::default();
        values.read::<TestField>(text).map(|()| values)
    }

    fn raw(value: &str) -> Option<(String, Option<Unsafe>, bool)> {
        let text = format!("{{\"raw\":{value}}}");
        let values = scan(&text).ok()?;
        let value = values.get(TestField::Raw)?;
        Some((value.text.to_owned(), value.fault(), value.has_breaks()))
    }

    #[test]
    fn known_fields_are_found_among_others_and_unescaped() {
        let text = r#" { "a" : [ {"name":1} ] , "na\u006de":"\u0061b", "raw" : { "x" : "}" } , "b":null } "#;
        let Ok(values) = scan(text) else { panic!("an object") };
        assert_eq!(values.get(TestField::Name).and_then(|name| name.as_text()).as_deref(), Some("ab"));
        assert_eq!(values.get(TestField::Raw).map(|value| value.text), Some(r#"{ "x" : "}" }"#));
    }

    #[test]
    fn a_known_field_twice_is_a_fault_also_if_it_is_null() {
        for text in [r#"{"raw":null,"raw":null}"#, r#"{"name":1,"a":0,"name":1}"#, r#"{"name":1,"nam\u0065":1"#] {
            assert_eq!(scan(text).err(), Some(ScanError::Repeated), "{text}");
        }
        assert!(scan(r#"{"a":1,"a":2}"#).is_ok());
    }

    #[test]
    fn a_text_or_number_that_rust_cannot_hold_is_a_fault_where_it_is_decoded() {
        for value in [r#""\ud800""#, "1e999"] {
            assert_eq!(scan(&format!("{{\"name\":{value}}}")).err(), Some(ScanError::Syntax), "{value}");
            assert!(raw(value).is_some_and(|(_, fault, _)| fault.is_some()), "{value}");
            assert!(scan(&format!("{{\"name\":[{value}],\"a\":{value}}}")).is_ok(), "{value}");
        }
        assert_eq!(scan(r#"{"\ud800":1}"#).err(), Some(ScanError::Syntax));
    }

    #[test]
    fn line_breaks_between_the_parts_of_a_value_are_noted() {
        assert_eq!(raw("[1,\n2]").map(|(_, _, has_breaks)| has_breaks), Some(true));
        assert_eq!(raw("\r{}\n").map(|(text, _, has_breaks)| (text, has_breaks)), Some(("{}".into(), false)));
        assert_eq!(raw(r#"["\n"]"#).map(|(_, _, has_breaks)| has_breaks), Some(false));
    }
}
