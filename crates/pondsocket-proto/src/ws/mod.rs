//! RFC 6455 and 7692.
