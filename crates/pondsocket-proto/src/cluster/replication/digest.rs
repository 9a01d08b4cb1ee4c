//! Hashes of users and texts. Equal users have equal hashes on every node, and in every version of this code: nodes of
//! two versions share a cluster while they are replaced one by one.

use serde_json::Value;

use super::users::{Entry, Users};
use crate::model::Assigns;

/// The mask of a number on the wire: the integers that a double holds exactly, since some languages have no others.
const WIRE: u64 = (1 << 53) - 1;

/// The digest of all users of one node in a channel: the sum of the hashes of each of them, so their order does not
/// matter. White space and the order of keys in their values do not matter either: a node may have serialised them
/// again.
pub(in crate::cluster) fn of_users(users: &Users) -> u64 {
    users.iter().map(|(user, entry)| of_entry(user.as_str(), entry)).fold(0, u64::wrapping_add) & WIRE
}

/// The hash of a text.
pub(in crate::cluster) fn of_text(text: &str) -> u64 {
    let mut hash = Hash::new();
    hash.text(text);
    hash.end()
}

fn of_entry(user: &str, entry: &Entry) -> u64 {
    let mut hash = Hash::new();
    hash.text(user);
    hash.number(entry.joined);
    hash.number(of_assigns(&entry.assigns));
    hash.number(entry.presence.as_ref().map_or(0, |presence| of_json(presence.as_str())));
    hash.end()
}

fn of_assigns(assigns: &Assigns) -> u64 {
    assigns.iter().map(|(key, value)| of_member(&key, of_json(value))).fold(0, u64::wrapping_add)
}

fn of_member(key: &str, value: u64) -> u64 {
    let mut hash = Hash::new();
    hash.text(key);
    hash.number(value);
    hash.end()
}

/// The hash of a JSON text. A text that is nested too deeply for the parser is hashed as it is.
fn of_json(text: &str) -> u64 {
    serde_json::from_str(text).map_or_else(|_| of_text(text), |value| of_value(&value))
}

/// The hash of a value, with a letter for its kind in front, so that `1` is not `"1"`.
fn of_value(value: &Value) -> u64 {
    let mut hash = Hash::new();
    match value {
        Value::Null => hash.byte(b'n'),
        Value::Bool(on) => {
            hash.byte(b'b');
            hash.byte(u8::from(*on));
        }
        Value::Number(number) => {
            hash.byte(b'd');
            hash.text(&number.to_string());
        }
        Value::String(text) => {
            hash.byte(b's');
            hash.text(text);
        }
        Value::Array(values) => {
            hash.byte(b'a');
            values.iter().for_each(|value| hash.number(of_value(value)));
        }
        Value::Object(members) => {
            hash.byte(b'o');
            let sum = members.iter().map(|(key, value)| of_member(key, of_value(value))).fold(0, u64::wrapping_add);
            hash.number(sum);
        }
    }
    hash.end()
}

/// FNV-1a with 64 bits, and one round of mixing at the end: the hashes are summed, and the low bits of plain FNV-1a
/// hashes of similar texts differ too little for that.
struct Hash(u64);

impl Hash {
    fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn number(&mut self, number: u64) {
        number.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
    }

    /// Adds a text and its length, so that two texts in a row differ from one.
    fn text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.byte(byte));
        self.number(text.len() as u64);
    }

    fn end(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::super::users::tests::{entry, users};
    use super::*;
    use crate::wire::Json;

    fn assigns(pairs: &[(&str, &str)]) -> Assigns {
        let mut assigns = Assigns::default();
        for (key, value) in pairs {
            assigns.set(key, &Json::from_raw(value).expect("JSON"));
        }
        assigns
    }

    #[test]
    fn digests_equal_those_of_other_versions_of_this_code() {
        let mut ada = entry(7, Some(r#"{"a":[1,"x",null,true,{"b":2}]}"#));
        ada.assigns = assigns(&[("k", "1.5")]);
        assert_eq!(of_users(&users([("ada", ada)])), 4_782_388_151_028_522);
        assert_eq!(of_users(&users([])), 0);
        assert_eq!(of_text("ada"), 7_593_948_890_810_824_320);
    }

    #[test]
    fn white_space_and_the_order_of_keys_do_not_matter() {
        let one = assigns(&[("a", r#"{"x":1,"y":[1,2]}"#), ("b", "2")]);
        let two = assigns(&[("b", "2"), ("a", r#"{ "y": [1, 2], "x": 1 }"#)]);
        assert_eq!(of_assigns(&one), of_assigns(&two));
    }

    #[test]
    fn all_other_differences_matter() {
        let values = ["1", "\"1\"", "true", "false", "null", "[]", "{}", "[1,2]", "[2,1]", "[[1],2]", r#"{"a":1}"#];
        let digests: std::collections::BTreeSet<_> = values.iter().map(|value| of_json(value)).collect();
        assert_eq!(digests.len(), values.len());
        let of = |name, entry| of_users(&users([(name, entry)]));
        let ada = of("ada", entry(1, None));
        assert_ne!(ada, of("bob", entry(1, None)));
        assert_ne!(ada, of("ada", entry(2, None)));
        assert_ne!(ada, of("ada", entry(1, Some("{}"))));
    }

    #[test]
    fn a_value_that_is_nested_too_deeply_has_a_hash_too() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        assert_eq!(of_json(&deep), of_text(&deep));
    }
}
