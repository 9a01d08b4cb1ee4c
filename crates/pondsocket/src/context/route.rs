//! What contexts that come from a matched pattern can tell of it.

/// Gives a context that has a `route: Match` and its `query` the same accessors as its siblings.
macro_rules! route_methods {
    ($context:ty, $subject:literal) => {
        impl $context {
            #[doc = concat!("The parameter `name` of the ", $subject, "'s pattern, decoded; empty if there is none.")]
            pub fn param(&self, name: &str) -> &str {
                self.route().param(name).unwrap_or_default()
            }

            /// All parameters as a struct or map; numbers are parsed.
            ///
            /// # Errors
            /// 400, naming the field.
            pub fn params<T: serde::de::DeserializeOwned>(&self) -> $crate::error::Result<T> {
                $crate::json::decode::params(self.route())
            }

            #[doc = concat!("The first value of `name` in the query of the ", $subject, ".")]
            pub fn query(&self, name: &str) -> Option<&str> {
                self.route().query.first(name)
            }

            /// All values of a repeated query key, in order.
            pub fn query_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
                self.route().query.all(name)
            }

            /// The whole query as a struct or map; a repeated key can be a list.
            ///
            /// # Errors
            /// 400, naming the field.
            pub fn query_as<T: serde::de::DeserializeOwned>(&self) -> $crate::error::Result<T> {
                $crate::json::decode::query(self.route())
            }

            /// What the pattern's `*` matched, without a leading slash, decoded; `None` if it has none.
            pub fn wildcard(&self) -> Option<&str> {
                self.route().wildcard()
            }
        }
    };
}

pub(super) use route_methods;
