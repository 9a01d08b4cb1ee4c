//! A deserializer that accepts a JSON object for a struct, and no array. The code that serde derives also accepts an
//! array of a struct's values in the order of its fields, for which an error could not name the field.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, MapAccess, SeqAccess, Unexpected, VariantAccess,
    Visitor,
};

/// A wrapper around a deserializer, a visitor, and each type that they pass to each other, so that the rule holds at
/// every depth.
///
/// It does not hold within an untagged enum, because serde buffers the value and deserializes from its own buffer.
pub(super) struct Strict<D> {
    inner: D,
    arrays: ArrayRule,
}

/// The reaction of a visitor to an array.
#[derive(Clone, Copy)]
enum ArrayRule {
    Accepts,
    /// It is of a struct, or of a variant with fields.
    Rejects,
    /// It asked for any value: its `expecting` text decides.
    ByExpectation,
}

impl<D> Strict<D> {
    pub(super) fn new(inner: D) -> Self {
        Strict { inner, arrays: ArrayRule::Accepts }
    }

    fn with_rule(inner: D, arrays: ArrayRule) -> Self {
        Strict { inner, arrays }
    }
}

/// The beginning of the `expecting` text in the code that serde derives for an enum with `#[serde(tag = "..")]`. Such
/// an enum asks for any value, and accepts an array in place of an object, too; no other property of its visitor can be
/// observed.
const TAGGED: &str = "internally tagged enum ";

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*) arrays $arrays:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* Strict::with_rule(visitor, ArrayRule::$arrays))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    forward! {
        deserialize_any() arrays ByExpectation;
        deserialize_bool() arrays Accepts;
        deserialize_i8() arrays Accepts;
        deserialize_i16() arrays Accepts;
        deserialize_i32() arrays Accepts;
        deserialize_i64() arrays Accepts;
        deserialize_i128() arrays Accepts;
        deserialize_u8() arrays Accepts;
        deserialize_u16() arrays Accepts;
        deserialize_u32() arrays Accepts;
        deserialize_u64() arrays Accepts;
        deserialize_u128() arrays Accepts;
        deserialize_f32() arrays Accepts;
        deserialize_f64() arrays Accepts;
        deserialize_char() arrays Accepts;
        deserialize_str() arrays Accepts;
        deserialize_string() arrays Accepts;
        deserialize_bytes() arrays Accepts;
        deserialize_byte_buf() arrays Accepts;
        deserialize_option() arrays Accepts;
        deserialize_unit() arrays Accepts;
        deserialize_unit_struct(name: &'static str) arrays Accepts;
        deserialize_newtype_struct(name: &'static str) arrays Accepts;
        deserialize_seq() arrays Accepts;
        deserialize_tuple(len: usize) arrays Accepts;
        deserialize_tuple_struct(name: &'static str, len: usize) arrays Accepts;
        deserialize_map() arrays Accepts;
        // The derived visitor of a struct takes an array as well; this is where it is refused.
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) arrays Rejects;
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) arrays Accepts;
        deserialize_identifier() arrays Accepts;
        deserialize_ignored_any() arrays Accepts;
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty;)*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool: bool;
        visit_i8: i8;
        visit_i16: i16;
        visit_i32: i32;
        visit_i64: i64;
        visit_i128: i128;
        visit_u8: u8;
        visit_u16: u16;
        visit_u32: u32;
        visit_u64: u64;
        visit_u128: u128;
        visit_f32: f32;
        visit_f64: f64;
        visit_char: char;
        visit_str: &str;
        visit_borrowed_str: &'de str;
        visit_string: String;
        visit_bytes: &[u8];
        visit_borrowed_bytes: &'de [u8];
        visit_byte_buf: Vec<u8>;
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Strict::new(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Strict::new(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        let is_struct = match self.arrays {
            ArrayRule::Accepts => false,
            ArrayRule::Rejects => true,
            ArrayRule::ByExpectation => (&self.inner as &dyn Expected).to_string().starts_with(TAGGED),
        };
        if is_struct {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        self.inner.visit_seq(Strict::new(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Strict::new(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Strict::new(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Strict::new(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(Strict::new(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        // A key of an object is a string, and needs no wrapper.
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Strict::new(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Strict<A> {
    type Error = A::Error;
    type Variant = Strict<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, Strict::new(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(Strict::new(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Strict::new(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        // The fields of a variant are a struct to serde.
        self.inner.struct_variant(fields, Strict::with_rule(visitor, ArrayRule::Rejects))
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        T::deserialize(Strict::new(&mut serde_json::Deserializer::from_str(text))).map_err(|error| error.to_string())
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Profile {
        name: String,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    enum Shape {
        Dot,
        Circle { radius: u32 },
        Owned(Profile),
        Line(u32, u32),
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "kind")]
    enum Tagged {
        Said { text: String },
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Point(i32, i32);

    #[test]
    fn an_array_is_rejected_for_a_struct_at_any_depth() {
        let ada = || Profile { name: "ada".into() };
        assert_eq!(read::<Profile>(r#"{"name":"ada"}"#), Ok(ada()));
        let refused = read::<Profile>(r#"["ada"]"#).expect_err("an array");
        assert!(refused.starts_with("invalid type: sequence, expected struct Profile"), "{refused}");
        assert_eq!(read::<Vec<Profile>>(r#"[{"name":"ada"}]"#), Ok(vec![ada()]));
        assert!(read::<Vec<Profile>>(r#"[["ada"]]"#).is_err());
        assert!(read::<HashMap<String, Profile>>(r#"{"a":["ada"]}"#).is_err());
        assert!(read::<Option<Profile>>(r#"["ada"]"#).is_err());
        assert!(read::<(u8, Profile)>(r#"[1,["ada"]]"#).is_err());
        assert!(read::<Shape>(r#"{"Owned":["ada"]}"#).is_err());
        assert!(read::<Shape>(r#"{"Circle":[5]}"#).is_err());
        assert!(read::<Tagged>(r#"["Said","hi"]"#).is_err());
    }

    #[test]
    fn all_other_values_are_read_as_by_serde() {
        assert_eq!(read::<Shape>(r#""Dot""#), Ok(Shape::Dot));
        assert_eq!(read::<Shape>(r#"{"Circle":{"radius":5}}"#), Ok(Shape::Circle { radius: 5 }));
        assert_eq!(read::<Shape>(r#"{"Owned":{"name":"x"}}"#), Ok(Shape::Owned(Profile { name: "x".into() })));
        assert_eq!(read::<Shape>(r#"{"Line":[1,2]}"#), Ok(Shape::Line(1, 2)));
        assert_eq!(read::<Tagged>(r#"{"kind":"Said","text":"hi"}"#), Ok(Tagged::Said { text: "hi".into() }));
        assert_eq!(read::<Point>("[1,-2]"), Ok(Point(1, -2)));
        assert_eq!(read::<(u64, f64, char)>(r#"[18446744073709551615,0.5,"x"]"#), Ok((u64::MAX, 0.5, 'x')));
        assert_eq!(read::<Option<Vec<bool>>>("null"), Ok(None));
        let value = json!({ "a": [1, -2, 0.5, "x", null, true, { "b": [] }] });
        assert_eq!(read::<Value>(&value.to_string()), Ok(value.clone()));
        let raw = read::<Box<RawValue>>("[1,  {\"a\":2}]").expect("any value");
        assert_eq!(raw.get(), "[1,  {\"a\":2}]");
    }
}
