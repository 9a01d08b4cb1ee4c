//! PondSocket.
