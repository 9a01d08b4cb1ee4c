//! The handlers of an application: their arguments, their layers and their results.

mod client_values;
mod hooks;
mod middleware;
mod outgoing;
mod routes;
