//! Conversations of a few nodes.

mod chaos;
mod convergence;
mod grace;
mod languages;
mod laws;
mod losses;
mod operations;
mod world;
