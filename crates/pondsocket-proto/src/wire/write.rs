//! Appending JSON to a buffer.

use super::scan::plain;

/// Appends texts as they are.
pub(crate) fn put(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends a string literal.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    // Names and ids need no escapes, which is found out eight bytes at a time.
    if plain(text.as_bytes(), 0) == text.len() {
        return put(out, &["\"", text, "\""]);
    }
    serde_json::to_writer(out, text).expect("a string is always JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_written_as_serde_json_writes_it() {
        let all: Vec<_> = ('\0'..='\u{2ff}').chain("\u{2028}😀\u{ffff}".chars()).map(String::from).collect();
        for text in
            all.iter().flat_map(|text| [text.clone(), format!("twelve bytes{text}"), format!("{text}, then more")])
        {
            let mut out = b"before".to_vec();
            string(&mut out, &text);
            assert_eq!(out, [b"before", serde_json::to_vec(&text).expect("JSON").as_slice()].concat(), "{text:?}");
        }
    }
}
