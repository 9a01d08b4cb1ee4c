//! Conversations of a few nodes.

mod convergence;
mod languages;
mod operations;
mod world;
