//! The fields of a message. Each is read separately, so that a fault in a field which the type does not need does not
//! make the message invalid.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Fault, MAX_ID, MAX_NAME, Malformed};
use crate::cluster::{ChannelKey, endpoint_name};
use crate::id::{ChannelName, InvalidId, UserId};
use crate::model::Assigns;
use crate::wire::fields::{KnownField, Value, Values};
use crate::wire::{Json, Object, Unsafe, vet};

/// The first integer that a double does not hold exactly. Some languages have no other numbers.
pub(super) const TOO_LARGE: u64 = 1 << 53;

/// A field that should be a text or a number. Any other value can be read, too, and is refused only where it is used.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Missing, or null.
    #[default]
    Absent,
    Text(Cow<'a, str>),
    /// Below 2^53.
    Integer(u64),
    /// Any other value.
    Other,
}

impl<'a> Scalar<'a> {
    fn of(value: Option<Value<'a>>) -> Scalar<'a> {
        let Some(value) = value else { return Scalar::Absent };
        match value.as_text() {
            Some(text) => Scalar::Text(text),
            // Negative numbers and fractions do not parse as `u64`.
            None => match value.text.parse() {
                Ok(number) if number < TOO_LARGE => Scalar::Integer(number),
                _ => Scalar::Other,
            },
        }
    }
}

impl<'a, const N: usize> Values<'a, N> {
    /// The value of a field as a text or a number.
    pub(super) fn scalar(&self, field: impl KnownField) -> Scalar<'a> {
        Scalar::of(self.get(field))
    }
}

impl Scalar<'_> {
    /// The text, if there is one.
    pub(super) fn optional_text(&self, name: &'static str) -> Result<Option<&str>, Malformed> {
        match self {
            Scalar::Absent => Ok(None),
            Scalar::Text(text) => Ok(Some(text)),
            Scalar::Integer(_) | Scalar::Other => Err(kind(name)),
        }
    }

    /// The text, which may be empty.
    pub(super) fn text(&self, name: &'static str) -> Result<&str, Malformed> {
        self.optional_text(name)?.ok_or(kind(name))
    }

    /// The number, if there is one.
    pub(super) fn optional_integer(&self, name: &'static str) -> Result<Option<u64>, Malformed> {
        match self {
            Scalar::Absent => Ok(None),
            Scalar::Integer(number) => Ok(Some(*number)),
            Scalar::Text(_) | Scalar::Other => Err(kind(name)),
        }
    }

    /// The number.
    pub(super) fn integer(&self, name: &'static str) -> Result<u64, Malformed> {
        self.optional_integer(name)?.ok_or(kind(name))
    }

    /// The id of a message or a node.
    pub(super) fn id(&self, name: &'static str) -> Result<Arc<str>, Malformed> {
        match self.text(name)? {
            "" => Err(Malformed::Field(name, InvalidId::Empty.into())),
            text if text.len() > MAX_ID => Err(Malformed::Field(name, InvalidId::TooLong(MAX_ID).into())),
            text => Ok(text.into()),
        }
    }

    /// The id of a user.
    pub(super) fn user(&self, name: &'static str) -> Result<Arc<str>, Malformed> {
        let user = UserId::new(self.text(name)?);
        user.map(Arc::from).map_err(|error| Malformed::Field(name, error.into()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Absent)
    }

    // Borrowed from the message where the text has no escapes: most fields are only compared or copied once.
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(text.to_owned().into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(if number < TOO_LARGE { Scalar::Integer(number) } else { Scalar::Other })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// The entries of an object, in their order.
pub(super) struct Entries<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyObject;

        impl<'de> Visitor<'de> for AnyObject {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some((key, value)) = entries.next_entry()? {
                    // A key is always a text. The type only makes it borrow where possible.
                    if let Scalar::Text(key) = key {
                        all.push((key, value));
                    }
                }
                Ok(Entries(all))
            }
        }

        deserializer.deserialize_map(AnyObject)
    }
}

/// Reads a field as a type.
pub(super) fn shaped<'a, T: Deserialize<'a>>(text: &'a str, name: &'static str) -> Result<T, Malformed> {
    serde_json::from_str(text).map_err(|_| kind(name))
}

/// Reads a field that is an object with known keys. The derived code of serde would accept an array of values, too.
pub(super) fn object_of<'a, T: Deserialize<'a>>(text: &'a str, name: &'static str) -> Result<T, Malformed> {
    if text.starts_with('{') { shaped(text, name) } else { Err(kind(name)) }
}

/// Reads a channel from two fields.
pub(super) fn channel(
    endpoint: &Scalar<'_>,
    channel: &Scalar<'_>,
    endpoint_field: &'static str,
    channel_field: &'static str,
) -> Result<ChannelKey, Malformed> {
    let endpoint = endpoint_name(endpoint.text(endpoint_field)?);
    if endpoint.len() > MAX_NAME {
        return Err(Malformed::Field(endpoint_field, InvalidId::TooLong(MAX_NAME).into()));
    }
    let channel = ChannelName::new(channel.text(channel_field)?, MAX_NAME);
    let channel = channel.map_err(|error| Malformed::Field(channel_field, error.into()))?;
    Ok(ChannelKey { endpoint: endpoint.into(), channel })
}

/// Reads a value that may reach clients, and validates it as if a client had sent it.
pub(super) fn json(text: &str, name: &'static str) -> Result<Json, Malformed> {
    vetted(text, name)?;
    Ok(Json::from_value(text))
}

/// Reads an object that may reach clients, and validates it as if a client had sent it.
pub(super) fn object(text: &str, name: &'static str) -> Result<Object, Malformed> {
    vetted(text, name)?;
    Object::from_value(text).ok_or(kind(name))
}

/// Reads assigns. A repeated key is refused: other implementations would keep another one of its values.
pub(super) fn assigns(text: &str, name: &'static str) -> Result<Assigns, Malformed> {
    if !text.starts_with('{') {
        return Err(kind(name));
    }
    // The text was parsed as JSON before, but not its strings: half a surrogate pair in a key fails only here.
    let Entries(entries) = serde_json::from_str(text).map_err(|_| Malformed::Field(name, Unsafe::Surrogate.into()))?;
    let entries = entries.into_iter().map(|(key, value)| Ok((key.into_owned(), json(value.get(), name)?)));
    Assigns::from_entries(entries.collect::<Result<_, _>>()?).ok_or(Malformed::Repeated)
}

pub(super) fn vetted(text: &str, name: &'static str) -> Result<(), Malformed> {
    vet(text).map_err(|fault| Malformed::Field(name, fault.into()))
}

/// The error for a field that is missing or has a value of another kind.
pub(super) fn kind(name: &'static str) -> Malformed {
    Malformed::Field(name, Fault::Kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(text: &str) -> Scalar<'_> {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn any_value_can_be_read_where_a_text_or_a_number_is_expected() {
        assert_eq!(scalar("null"), Scalar::Absent);
        assert_eq!(scalar("\"a\""), Scalar::Text("a".into()));
        assert_eq!(scalar("\"\\u0061\""), Scalar::Text("a".into()));
        assert_eq!(scalar("0"), Scalar::Integer(0));
        assert_eq!(scalar("9007199254740991"), Scalar::Integer(TOO_LARGE - 1));
        for other in ["9007199254740992", "-1", "1.0", "true", "[1,[2]]", "{\"a\":{}}"] {
            assert_eq!(scalar(other), Scalar::Other, "{other}");
        }
    }

    #[test]
    fn a_text_is_not_copied_unless_it_has_escapes() {
        assert!(matches!(scalar("\"a\""), Scalar::Text(Cow::Borrowed("a"))));
    }

    #[test]
    fn an_optional_field_may_be_missing_but_not_of_a_wrong_kind() {
        assert_eq!(Scalar::Absent.optional_text("f"), Ok(None));
        assert_eq!(Scalar::Absent.optional_integer("f"), Ok(None));
        assert_eq!(scalar("5").optional_text("f"), Err(kind("f")));
        assert_eq!(scalar("\"5\"").optional_integer("f"), Err(kind("f")));
        assert_eq!(Scalar::Absent.text("f"), Err(kind("f")));
        assert_eq!(Scalar::Absent.integer("f"), Err(kind("f")));
        assert_eq!(scalar("\"\"").text("f"), Ok(""));
    }

    #[test]
    fn ids_are_limited() {
        let long = "x".repeat(MAX_ID);
        assert_eq!(Scalar::Text(long.clone().into()).id("f"), Ok(long.clone().into()));
        let error = |fault: InvalidId| Err(Malformed::Field("f", fault.into()));
        assert_eq!(Scalar::Text((long + "x").into()).id("f"), error(InvalidId::TooLong(MAX_ID)));
        assert_eq!(Scalar::Text("".into()).id("f"), error(InvalidId::Empty));
        assert_eq!(Scalar::Text("CHANNEL".into()).user("f"), error(InvalidId::Reserved));
    }

    #[test]
    fn names_of_channels_and_endpoints_are_limited() {
        let long = "x".repeat(MAX_NAME);
        let read = |endpoint: &str, name: &str| {
            channel(&Scalar::Text(endpoint.to_owned().into()), &Scalar::Text(name.to_owned().into()), "e", "c")
        };
        let key = read(&format!("/{long}"), &long).expect("names");
        assert_eq!((&*key.endpoint, key.channel.as_str()), (&*long, &*long));
        let too_long = InvalidId::TooLong(MAX_NAME);
        assert_eq!(read(&(long.clone() + "x"), "c"), Err(Malformed::Field("e", too_long.into())));
        assert_eq!(read("e", &(long + "x")), Err(Malformed::Field("c", too_long.into())));
        assert_eq!(read("", ""), Err(Malformed::Field("c", InvalidId::Empty.into())));
    }

    #[test]
    fn assigns_keep_their_text_and_order_and_have_one_value_each() {
        let read = |text| assigns(text, "f");
        assert_eq!(
            read("{ \"b\" :[1.0,\n2] ,\"\\u0061\":null}").map(|assigns| assigns.to_json()),
            Ok("{\"b\":[1.0, 2],\"a\":null}".into())
        );
        assert_eq!(read(r#"{"a":1,"\u0061":2}"#), Err(Malformed::Repeated));
        let surrogate = Err(Malformed::Field("f", Unsafe::Surrogate.into()));
        assert_eq!(read(r#"{"\ud800":1}"#), surrogate);
        assert_eq!(read(r#"{"a":"\ud800"}"#), surrogate);
        assert_eq!(read("[]"), Err(kind("f")));
    }
}
