//! Conversations of a few nodes.

mod convergence;
mod world;
