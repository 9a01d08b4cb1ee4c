use std::collections::HashSet;
use std::sync::Arc;

use crate::wire::Json;

/// Server-side values of a connection or a member, by key: JSON, in the order in which the keys were first set.
///
/// A list and not a map: a member has a handful of assigns, and an idle one should take little memory. A clone shares
/// every key and value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Assigns(Box<[(Arc<str>, Json)]>);

impl Assigns {
    /// Creates assigns with these entries; `None` if a key occurs twice, since JSON objects on the wire may repeat
    /// keys.
    pub fn from_entries(entries: Vec<(Arc<str>, Json)>) -> Option<Assigns> {
        let keys: HashSet<&str> = entries.iter().map(|(key, _)| &**key).collect();
        if keys.len() < entries.len() {
            return None;
        }
        Some(Assigns(entries.into()))
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.iter().find(|(name, _)| &**name == key).map(|(_, value)| value)
    }

    /// Sets or replaces the value under `key`.
    pub fn set(&mut self, key: &str, value: Json) {
        self.set_like(&Assigns::default(), key, value);
    }

    /// Sets or replaces the value under `key`, whose text is shared with `other` if that has the same key: members of a
    /// channel tend to have the same ones.
    pub(crate) fn set_like(&mut self, other: &Assigns, key: &str, value: Json) {
        match self.0.iter_mut().find(|(name, _)| &**name == key) {
            Some((_, old)) => *old = value,
            None => {
                let mut entries = std::mem::take(&mut self.0).into_vec();
                // Exactly: a vector that doubles would have to be cut down again.
                entries.reserve_exact(1);
                let shared = other.0.iter().find(|(name, _)| &**name == key).map(|(name, _)| Arc::clone(name));
                entries.push((shared.unwrap_or_else(|| key.into()), value));
                self.0 = entries.into();
            }
        }
    }

    /// The size of the object as JSON, in bytes, with this value under `key`. Escapes in keys are not counted.
    pub fn size_with(&self, key: &str, value: &Json) -> usize {
        let others = self.iter().filter(|(name, _)| *name != key);
        others.chain([(key, value)]).map(|(name, value)| size_of_entry(name, value)).sum::<usize>() + 1
    }

    /// Takes over every entry of `other`, key by key.
    pub fn merge(&mut self, other: Assigns) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        for (key, value) in other.0 {
            self.set(&key, value);
        }
    }

    /// All entries, oldest key first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// Returns whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole map as the text of one JSON object.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (key, value) in self.iter() {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::to_string(key).expect("a string is always JSON"));
            out.push(':');
            out.push_str(value.as_str());
        }
        out.push('}');
        out
    }
}

/// The size of an entry: key, value, two quotes, a colon, and a comma or brace.
fn size_of_entry(key: &str, value: &Json) -> usize {
    key.len() + value.as_str().len() + 4
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
        assigns.set("name", json("\"ada\""));
        assigns.set("age", json("36"));
        assigns.set("name", json("\"bob\""));
        assert_eq!(assigns.to_json(), r#"{"name":"bob","age":36}"#);
    }

    #[test]
    fn the_text_of_a_key_is_shared_with_assigns_that_have_it() {
        let (mut ada, mut bob) = (Assigns::default(), Assigns::default());
        ada.set("name", json("\"ada\""));
        bob.set_like(&ada, "name", json("\"bob\""));
        bob.set_like(&ada, "age", json("36"));
        assert_eq!(bob.to_json(), r#"{"name":"bob","age":36}"#);
        assert!(Arc::ptr_eq(&ada.0[0].0, &bob.0[0].0));
    }

    #[test]
    fn the_size_with_one_more_value_is_that_of_the_object() {
        let mut assigns = Assigns::default();
        for (key, value) in [("name", "\"ada\""), ("age", "36"), ("name", "\"bob the builder\"")] {
            let size = assigns.size_with(key, &json(value));
            assigns.set(key, json(value));
            assert_eq!(size, assigns.to_json().len());
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
        assigns.set("name", json("\"ada\""));
        assert!(!assigns.is_empty());
        assert_eq!(assigns.get("name").map(Json::as_str), Some("\"ada\""));
        assert!(assigns.get("age").is_none());
    }

    #[test]
    fn merging_into_nothing_takes_all_and_merging_nothing_changes_nothing() {
        let mut assigns = Assigns::default();
        let mut other = Assigns::default();
        other.set("a", json("1"));
        assigns.merge(other);
        assigns.merge(Assigns::default());
        assert_eq!(assigns.to_json(), r#"{"a":1}"#);
    }

    #[test]
    fn merging_overwrites_key_by_key() {
        let mut assigns = Assigns::default();
        assigns.set("a", json("1"));
        assigns.set("b", json("1"));
        let mut newer = Assigns::default();
        newer.set("b", json("2"));
        newer.set("\"c\"", json("3"));
        assigns.merge(newer);
        assert_eq!(assigns.to_json(), r#"{"a":1,"b":2,"\"c\"":3}"#);
    }
}
