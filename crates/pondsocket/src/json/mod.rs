//! The application's values into text, and text into its values.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod received;
mod strict;
