//! The handlers of an application: what they are given, what runs around them, and what they return.

mod client_values;
mod hooks;
mod middleware;
mod outgoing;
mod routes;
