//! Encoding of the application's values into JSON text, and decoding of JSON text into its values.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod received;
mod strict;
