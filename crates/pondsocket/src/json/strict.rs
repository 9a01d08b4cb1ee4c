//! A deserializer for which a struct is a JSON object. The code that serde derives also takes an array of a struct's
//! values in their order, which no client means and no error of a field can name.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, MapAccess, SeqAccess, Unexpected, VariantAccess,
    Visitor,
};

/// A deserializer, a visitor, or whatever they give each other, at every depth.
///
/// Out of its reach is what a type buffers before it knows its shape: a struct within an untagged enum.
pub(super) struct Strict<D> {
    inner: D,
    takes: Takes,
}

/// The values that a visitor takes, as far as arrays are concerned.
#[derive(Clone, Copy)]
enum Takes {
    Arrays,
    /// A struct, or a variant with fields.
    ObjectsOnly,
    /// It decides when it sees the value.
    AsItSays,
}

impl<D> Strict<D> {
    pub(super) fn new(inner: D) -> Self {
        Strict { inner, takes: Takes::Arrays }
    }

    fn of(inner: D, takes: Takes) -> Self {
        Strict { inner, takes }
    }
}

/// The beginning of the `expecting` text in the code that serde derives for an enum with `#[serde(tag = "..")]`. Such an enum
/// asks for any value, and takes an array for an object, too.
const TAGGED: &str = "internally tagged enum ";

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*) takes $takes:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* Strict::of(visitor, Takes::$takes))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    forward! {
        deserialize_any() takes AsItSays;
        deserialize_bool() takes Arrays;
        deserialize_i8() takes Arrays;
        deserialize_i16() takes Arrays;
        deserialize_i32() takes Arrays;
        deserialize_i64() takes Arrays;
        deserialize_i128() takes Arrays;
        deserialize_u8() takes Arrays;
        deserialize_u16() takes Arrays;
        deserialize_u32() takes Arrays;
        deserialize_u64() takes Arrays;
        deserialize_u128() takes Arrays;
        deserialize_f32() takes Arrays;
        deserialize_f64() takes Arrays;
        deserialize_char() takes Arrays;
        deserialize_str() takes Arrays;
        deserialize_string() takes Arrays;
        deserialize_bytes() takes Arrays;
        deserialize_byte_buf() takes Arrays;
        deserialize_option() takes Arrays;
        deserialize_unit() takes Arrays;
        deserialize_unit_struct(name: &'static str) takes Arrays;
        deserialize_newtype_struct(name: &'static str) takes Arrays;
        deserialize_seq() takes Arrays;
        deserialize_tuple(len: usize) takes Arrays;
        deserialize_tuple_struct(name: &'static str, len: usize) takes Arrays;
        deserialize_map() takes Arrays;
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) takes ObjectsOnly;
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) takes Arrays;
        deserialize_identifier() takes Arrays;
        deserialize_ignored_any() takes Arrays;
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
        let is_struct = match self.takes {
            Takes::Arrays => false,
            Takes::ObjectsOnly => true,
            Takes::AsItSays => (&self.inner as &dyn Expected).to_string().starts_with(TAGGED),
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
        self.inner.struct_variant(fields, Strict::of(visitor, Takes::ObjectsOnly))
    }
}

#[cfg(test)]
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
    struct User {
        name: String,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    enum Shape {
        Dot,
        Circle { radius: u32 },
        Owned(User),
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
    fn an_array_is_no_struct_at_any_depth() {
        let ada = || User { name: "ada".into() };
        assert_eq!(read::<User>(r#"{"name":"ada"}"#), Ok(ada()));
        let refused = read::<User>(r#"["ada"]"#).expect_err("an array");
        assert!(refused.starts_with("invalid type: sequence, expected struct User"), "{refused}");
        assert_eq!(read::<Vec<User>>(r#"[{"name":"ada"}]"#), Ok(vec![ada()]));
        assert!(read::<Vec<User>>(r#"[["ada"]]"#).is_err());
        assert!(read::<HashMap<String, User>>(r#"{"a":["ada"]}"#).is_err());
        assert!(read::<Option<User>>(r#"["ada"]"#).is_err());
        assert!(read::<(u8, User)>(r#"[1,["ada"]]"#).is_err());
        assert!(read::<Shape>(r#"{"Owned":["ada"]}"#).is_err());
        assert!(read::<Shape>(r#"{"Circle":[5]}"#).is_err());
        assert!(read::<Tagged>(r#"["Said","hi"]"#).is_err());
    }

    #[test]
    fn everything_else_is_as_serde_reads_it() {
        assert_eq!(read::<Shape>(r#""Dot""#), Ok(Shape::Dot));
        assert_eq!(read::<Shape>(r#"{"Circle":{"radius":5}}"#), Ok(Shape::Circle { radius: 5 }));
        assert_eq!(read::<Shape>(r#"{"Owned":{"name":"x"}}"#), Ok(Shape::Owned(User { name: "x".into() })));
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
