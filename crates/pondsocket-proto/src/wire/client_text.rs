use std::borrow::Cow;

use super::write::string;

/// A text that a client sent, in the form in which an answer repeats it.
///
/// A JSON string may contain half a surrogate pair (`"\ud800"`), which a Rust string cannot. Strings of JavaScript and
/// Python can, and their clients match answers to requests by the exact text. So an answer repeats such a half with the
/// same escape.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientText<'a>(Form<'a>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Form<'a> {
    Exact(Cow<'a, str>),
    /// A text with halves of surrogate pairs. It is boxed because it is rare: the common form stays as small as a
    /// `Cow`.
    Broken(Box<Broken>),
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Broken {
    /// With U+FFFD in the place of each half of a surrogate pair.
    lossy: String,
    /// The whole text as a JSON string literal.
    literal: String,
}

impl ClientText<'_> {
    /// The text, if it has no half of a surrogate pair. A text that has one cannot be the name of a channel or an
    /// event.
    pub fn exact(&self) -> Option<&str> {
        match &self.0 {
            Form::Exact(text) => Some(text),
            Form::Broken(_) => None,
        }
    }

    /// The text for logs, with U+FFFD in the place of each half of a surrogate pair.
    pub fn to_lossy(&self) -> &str {
        match &self.0 {
            Form::Exact(text) => text,
            Form::Broken(broken) => &broken.lossy,
        }
    }

    /// Returns `true` if the text has no half of a surrogate pair.
    pub fn is_exact(&self) -> bool {
        self.exact().is_some()
    }

    /// Appends the text as a JSON string literal.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Exact(text) => string(out, text),
            Form::Broken(broken) => out.extend_from_slice(broken.literal.as_bytes()),
        }
    }
}

impl ClientText<'static> {
    /// The text of a JSON string, decoded to UTF-8 in which each half of a surrogate pair has the three bytes of its
    /// code point.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(error) => ClientText::from_surrogates(error.as_bytes()),
        }
    }

    fn from_surrogates(bytes: &[u8]) -> Self {
        let (mut lossy, mut escaped, mut rest) = (String::new(), Vec::new(), bytes);
        loop {
            // Valid text up to the next half of a surrogate pair is escaped as any JSON string is.
            let valid = rest.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            lossy.push_str(valid);
            escape(&mut escaped, valid);
            // The three bytes of a code point between U+D800 and U+DFFF are the only ones that are not valid here.
            let [first, second, third, behind @ ..] = &rest[valid.len()..] else { break };
            let unit = u16::from(first & 0x0F) << 12 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F);
            lossy.push(char::REPLACEMENT_CHARACTER);
            escaped.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            rest = behind;
        }
        let escaped = String::from_utf8(escaped).expect("JSON of valid texts and escapes");
        ClientText(Form::Broken(Box::new(Broken { lossy, literal: format!("\"{escaped}\"") })))
    }
}

impl<'a> From<&'a str> for ClientText<'a> {
    fn from(text: &'a str) -> Self {
        ClientText(Form::Exact(text.into()))
    }
}

impl From<String> for ClientText<'static> {
    fn from(text: String) -> Self {
        ClientText(Form::Exact(text.into()))
    }
}

/// Appends the inside of a string literal.
fn escape(out: &mut Vec<u8>, text: &str) {
    let at = out.len();
    // serde_json writes the quotes, too. They are removed, because the literal is made of several pieces.
    string(out, text);
    out.pop();
    out.remove(at);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &ClientText<'_>) -> String {
        let mut out = Vec::new();
        text.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn halves_of_surrogate_pairs_are_written_as_they_were_escaped() {
        let bytes = [b"/c\n".as_slice(), b"\xed\xa0\x80", "é\"".as_bytes(), b"\xed\xbf\xbf"].concat();
        let text = ClientText::from_bytes(bytes);
        assert_eq!(written(&text), r#""/c\n\ud800é\"\udfff""#);
        assert_eq!((text.exact(), text.to_lossy()), (None, "/c\n\u{fffd}é\"\u{fffd}"));
    }

    #[test]
    fn any_other_text_is_exact() {
        let text = ClientText::from_bytes("/c é\u{fffd}".into());
        assert_eq!((text.exact(), text.is_exact()), (Some("/c é\u{fffd}"), true));
        assert_eq!(written(&text), "\"/c é\u{fffd}\"");
        assert_eq!(text, ClientText::from("/c é\u{fffd}"));
    }
}
