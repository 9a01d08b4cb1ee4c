use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use crate::wire::{Json, scan};

/// Server-side values of a connection or a member, by key: JSON, in the order in which the keys were first set.
///
/// One text, which has a line `"key":value` for each entry, because an idle member should take little memory. Neither keys nor
/// values have line breaks: in a JSON string they are escaped, and [`Json`] has none elsewhere.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Assigns(Box<str>);

impl Assigns {
    /// Creates assigns with these entries; `None` if a key occurs twice, since JSON objects on the wire may repeat
    /// keys.
    pub fn from_entries(entries: Vec<(String, Json)>) -> Option<Assigns> {
        let keys: HashSet<&str> = entries.iter().map(|(key, _)| &**key).collect();
        if keys.len() < entries.len() {
            return None;
        }
        let lines = entries.iter().map(|(key, value)| ["\"", &escaped(key), "\":", value.as_str(), "\n"].concat());
        Some(Assigns(lines.collect::<String>().into()))
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<Json> {
        let (before, line) = self.find(&escaped(key))?;
        Some(Json::from_valid(&self.0[before + value_of(line)..before + line.len()]))
    }

    /// Sets or replaces the value under `key`.
    pub fn set(&mut self, key: &str, value: &Json) {
        let key = escaped(key);
        let (before, line) = self.find(&key).unwrap_or((self.0.len(), ""));
        let behind = self.0.get(before + line.len() + 1..).unwrap_or_default();
        // In one allocation of exactly its size.
        self.0 = [&self.0[..before], "\"", &key, "\":", value.as_str(), "\n", behind].concat().into();
    }

    /// The line of an escaped key, and the number of bytes ahead of it.
    fn find(&self, key: &str) -> Option<(usize, &str)> {
        let mut before = 0;
        for line in self.lines() {
            // With the quote behind it, which is none of the key, since that is escaped.
            if line[1..].strip_prefix(key).is_some_and(|rest| rest.starts_with('"')) {
                return Some((before, line));
            }
            before += line.len() + 1;
        }
        None
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator('\n')
    }

    /// The size of the object as JSON, in bytes.
    pub fn size(&self) -> usize {
        // A line has a line break where the object has a comma, or its last brace.
        if self.is_empty() { 2 } else { self.0.len() + 1 }
    }

    /// The same with this value under `key`.
    pub fn size_with(&self, key: &str, value: &Json) -> usize {
        let key = escaped(key);
        let replaced = self.find(&key).map_or(0, |(_, line)| line.len() + 1);
        // Two quotes, a colon and both braces.
        self.0.len() - replaced + key.len() + value.as_str().len() + 5
    }

    /// Takes over every entry of `other`, key by key.
    pub fn merge(&mut self, other: Assigns) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        for (key, value) in other.iter() {
            self.set(&key, &Json::from_valid(value));
        }
    }

    /// All entries, with the text of their values, oldest key first.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        self.lines().map(|line| {
            let (key, value) = line.split_at(value_of(line));
            (unescaped(&key[1..key.len() - 2]), value)
        })
    }

    /// Returns whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole map as the text of one JSON object.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.0.len() + 2);
        out.push('{');
        for line in self.lines() {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(line);
        }
        out.push('}');
        out
    }
}

impl fmt::Debug for Assigns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

/// A key as it is in JSON, without the quotes.
fn escaped(key: &str) -> Cow<'_, str> {
    if scan::plain(key.as_bytes(), 0) == key.len() {
        return Cow::Borrowed(key);
    }
    let quoted = serde_json::to_string(key).expect("a string is always JSON");
    Cow::Owned(quoted[1..quoted.len() - 1].into())
}

/// The reverse of [`escaped`].
fn unescaped(key: &str) -> Cow<'_, str> {
    if !key.contains('\\') {
        return Cow::Borrowed(key);
    }
    Cow::Owned(serde_json::from_str(&["\"", key, "\""].concat()).expect("it was a string"))
}

/// The place in a line at which the value begins.
fn value_of(line: &str) -> usize {
    // A backslash escapes the byte behind it.
    let key = line.as_bytes();
    let mut end = 1;
    while key[end] != b'"' {
        end += if key[end] == b'\\' { 2 } else { 1 };
    }
    // Behind the quote and the colon.
    end + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::from_raw(text).expect("valid JSON")
    }

    #[test]
    fn a_key_is_replaced_in_place_and_the_map_is_one_object() {
        let mut assigns = Assigns::default();
        assigns.set("name", &json("\"ada\""));
        assigns.set("age", &json("36"));
        assigns.set("name", &json("\"bob\""));
        assert_eq!(assigns.to_json(), r#"{"name":"bob","age":36}"#);
    }

    #[test]
    fn keys_that_need_escapes_are_found_and_read_back() {
        let keys = ["a", "a\"", "a\":", "\\", "a\\\"", "\n", "", "é😀"];
        let mut assigns = Assigns::default();
        for (number, key) in keys.iter().enumerate() {
            assigns.set(key, &json(&number.to_string()));
        }
        let entries: Vec<_> = assigns.iter().map(|(key, value)| (key.into_owned(), value.to_owned())).collect();
        let expected: Vec<_> = keys.iter().enumerate().map(|(n, key)| (key.to_string(), n.to_string())).collect();
        assert_eq!(entries, expected);
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(assigns.get(key), Some(json(&number.to_string())), "{key:?}");
        }
        let read: std::collections::HashMap<String, usize> = serde_json::from_str(&assigns.to_json()).expect("JSON");
        assert_eq!(read.len(), keys.len());
    }

    #[test]
    fn the_size_with_one_more_value_is_that_of_the_object() {
        let mut assigns = Assigns::default();
        assert_eq!(assigns.size(), assigns.to_json().len());
        for (key, value) in [("name", "\"ada\""), ("age", "36"), ("\"", "0"), ("name", "\"bob the builder\"")] {
            let size = assigns.size_with(key, &json(value));
            assigns.set(key, &json(value));
            assert_eq!((size, assigns.size()), (assigns.to_json().len(), size));
        }
    }

    #[test]
    fn entries_are_assigns_unless_a_key_occurs_twice() {
        let assigns = Assigns::from_entries(vec![("b".into(), json("1")), ("a".into(), json("2"))]).expect("two keys");
        assert_eq!(assigns.to_json(), r#"{"b":1,"a":2}"#);
        assert_eq!(Assigns::from_entries(vec![("a".into(), json("1")), ("a".into(), json("1"))]), None);
    }

    #[test]
    fn only_the_keys_that_were_set_have_values() {
        let mut assigns = Assigns::default();
        assert!(assigns.is_empty());
        assigns.set("name", &json("\"ada\""));
        assert!(!assigns.is_empty());
        assert_eq!(assigns.get("name"), Some(json("\"ada\"")));
        assert!(assigns.get("age").is_none());
    }

    #[test]
    fn merging_into_nothing_takes_all_and_merging_nothing_changes_nothing() {
        let mut assigns = Assigns::default();
        let mut other = Assigns::default();
        other.set("a", &json("1"));
        assigns.merge(other);
        assigns.merge(Assigns::default());
        assert_eq!(assigns.to_json(), r#"{"a":1}"#);
    }

    #[test]
    fn merging_overwrites_key_by_key() {
        let mut assigns = Assigns::default();
        assigns.set("a", &json("1"));
        assigns.set("b", &json("1"));
        let mut newer = Assigns::default();
        newer.set("b", &json("2"));
        newer.set("\"c\"", &json("3"));
        assigns.merge(newer);
        assert_eq!(assigns.to_json(), r#"{"a":1,"b":2,"\"c\"":3}"#);
    }
}
