//! Channels, and the members that come, show and assign something, and leave.

mod assigns;
mod channels;
mod leaves;
mod members;
mod pending;
