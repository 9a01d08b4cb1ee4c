//! The matches of patterns, as contexts show them: the match of a context's own pattern, then that of its channel's
//! pattern.

use pondsocket_proto::pattern::Match;

use crate::error::{Error, Result};

/// A context with matched patterns.
pub(super) trait Routed {
    /// The match of the context's own pattern.
    fn own(&self) -> &Match;

    /// The match of the channel's pattern, if that is another one. It is computed on demand.
    fn of_channel(&self) -> Option<&Match> {
        None
    }
}

pub(super) fn param<'a>(context: &'a impl Routed, name: &str) -> Result<&'a str> {
    let value = context.own().param(name).or_else(|| context.of_channel()?.param(name));
    value.ok_or_else(|| Error::internal(format!("no parameter `{name}`: {}", known_params(context))))
}

/// The parameters of both patterns. No name is in both: `check_parameters` refuses such a pattern at registration.
pub(super) fn params(context: &impl Routed) -> impl Iterator<Item = (&str, &str)> {
    context.own().params().chain(context.of_channel().into_iter().flat_map(Match::params))
}

/// The names of all parameters, as a text for errors.
pub(super) fn known_params(context: &impl Routed) -> String {
    let names: Vec<_> = params(context).map(|(name, _)| format!("`{name}`")).collect();
    if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) }
}

/// The match whose query has a key. The context's own match comes first.
pub(super) fn with_query<'a>(context: &'a impl Routed, name: &str) -> &'a Match {
    let own = context.own();
    if own.query.first(name).is_some() { own } else { context.of_channel().unwrap_or(own) }
}

/// All pairs of the context's own query, and those of the channel's query whose keys are not in it.
pub(super) fn queries(context: &impl Routed) -> impl Iterator<Item = (&str, &str)> {
    let own = &context.own().query;
    let others = context.of_channel().into_iter().flat_map(|channel| channel.query.iter());
    own.iter().chain(others.filter(|(name, _)| own.first(name).is_none()))
}

/// Implements the accessors of parameters and query for a [`Routed`] context, with the same signatures for all
/// contexts.
macro_rules! route_methods {
    ($context:ty, $params:expr, $query:expr, $wildcard:expr) => {
        impl $context {
            #[doc = concat!("The parameter `name` of ", $params, ", decoded.")]
            ///
            /// # Errors
            /// 500 if the pattern has no parameter of that name: the log lists the names.
            pub fn param(&self, name: &str) -> $crate::error::Result<&str> {
                use $crate::error::InCall;
                $crate::context::route::param(self, name).in_call("ctx.param")
            }

            #[doc = concat!("All parameters of ", $params, ", as a struct or map; numbers are parsed.")]
            ///
            /// # Errors
            /// 400 if a value does not fit, naming the field; 500 if there is none of that name.
            pub fn params<T: serde::de::DeserializeOwned>(&self) -> $crate::error::Result<T> {
                use $crate::error::InCall;
                let known = || $crate::context::route::known_params(self);
                $crate::json::decode::params($crate::context::route::params(self), known).in_call("ctx.params")
            }

            #[doc = concat!("The first value of `name` in the query of ", $query, ".")]
            pub fn query(&self, name: &str) -> Option<&str> {
                $crate::context::route::with_query(self, name).query.first(name)
            }

            /// All values of a repeated query key, in order.
            pub fn query_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
                $crate::context::route::with_query(self, name).query.all(name)
            }

            /// The whole query as a struct or map; a repeated key can be a list.
            ///
            /// # Errors
            /// 400, naming the field.
            pub fn query_as<T: serde::de::DeserializeOwned>(&self) -> $crate::error::Result<T> {
                use $crate::error::InCall;
                $crate::json::decode::query($crate::context::route::queries(self)).in_call("ctx.query_as")
            }

            #[doc = concat!("The part that the `*` of ", $wildcard, " matched, without a leading slash, decoded; `None` if there is none.")]
            pub fn wildcard(&self) -> Option<&str> {
                use $crate::context::route::Routed;
                self.own().wildcard().or_else(|| self.of_channel()?.wildcard())
            }
        }
    };
    ($context:ty: own $subject:literal) => {
        $crate::context::route::route_methods!(
            $context,
            concat!("the ", $subject, "'s pattern"),
            concat!("the ", $subject),
            concat!("the ", $subject, "'s pattern")
        );
    };
    ($context:ty: event) => {
        $crate::context::route::route_methods!(
            $context,
            "the event's pattern, or else of the channel's",
            "the event's name, or else of the channel's",
            "the event's pattern, or else of the channel's,"
        );
    };
}

pub(super) use route_methods;
