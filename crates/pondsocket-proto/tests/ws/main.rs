//! The WebSocket codec through its public door.

mod decoder;
mod deflate;
mod limits;
mod peer;
mod splits;
mod tungstenite;
