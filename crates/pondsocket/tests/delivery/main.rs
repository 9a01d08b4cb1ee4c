//! Delivery under load, and the limits of what one client can do to others.

mod bad_input;
mod catch_up;
mod isolation;
mod limits;
mod memory;
mod overload;
mod rate_limit;
mod slow_clients;
