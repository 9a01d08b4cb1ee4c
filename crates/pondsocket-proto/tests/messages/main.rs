//! What nodes say to each other: everything that others say is understood, and everything that we say is accepted.

mod captured;
