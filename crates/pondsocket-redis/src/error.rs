//! Translation of errors from Redis into the kinds of errors that a bus has.

use pondsocket::cluster::{BusError, BusErrorKind};
use redis::{ErrorKind, RedisError};

/// Translates an error by the code of the answer, or by the failure of the connection.
pub(crate) fn bus_error(error: &RedisError) -> BusError {
    BusError::new(kind(error), error.to_string())
}

pub(crate) fn timeout(what: &str) -> BusError {
    BusError::new(BusErrorKind::Timeout, format!("{what} took too long"))
}

pub(crate) fn closed(what: &str) -> BusError {
    BusError::new(BusErrorKind::Closed, what)
}

fn kind(error: &RedisError) -> BusErrorKind {
    match error.code() {
        Some("NOAUTH" | "WRONGPASS") => return BusErrorKind::Auth,
        Some("NOPERM") => return BusErrorKind::NoPerm,
        Some("LOADING") => return BusErrorKind::Loading,
        Some("READONLY") => return BusErrorKind::ReadOnly,
        Some("OOM") => return BusErrorKind::OutOfMemory,
        _ => {}
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => BusErrorKind::Auth,
        ErrorKind::InvalidClientConfig => BusErrorKind::Config,
        _ if error.is_timeout() => BusErrorKind::Timeout,
        _ if error.is_connection_refusal() => BusErrorKind::Refused,
        _ if error.is_connection_dropped() => BusErrorKind::Closed,
        // A name that does not resolve, an address without a route, a handshake that failed.
        ErrorKind::Io | ErrorKind::MasterNameNotFoundBySentinel => BusErrorKind::Refused,
        // An error that a script has passed on has its code further inside.
        _ => within(&error.to_string()),
    }
}

/// The kind of a known code among the words of a text.
fn within(text: &str) -> BusErrorKind {
    // A script that lacks a right has no code: this is the text of older versions of Redis, and that of Valkey.
    if text.contains("The user executing the script can't") || text.contains("ACL failure in script") {
        return BusErrorKind::NoPerm;
    }
    let known = [
        ("OOM", BusErrorKind::OutOfMemory),
        ("READONLY", BusErrorKind::ReadOnly),
        ("NOPERM", BusErrorKind::NoPerm),
        ("LOADING", BusErrorKind::Loading),
        ("NOAUTH", BusErrorKind::Auth),
    ];
    let has = |code: &str| text.split(|letter: char| !letter.is_ascii_uppercase()).any(|word| word == code);
    known.iter().find(|(code, _)| has(code)).map_or(BusErrorKind::Other, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> BusErrorKind {
        let value = redis::parse_redis_value(line.as_bytes()).expect("an answer");
        bus_error(&value.extract_error().expect_err("an error")).kind()
    }

    #[test]
    fn codes_are_kinds() {
        assert_eq!(answered("-NOAUTH Authentication required.\r\n"), BusErrorKind::Auth);
        assert_eq!(answered("-NOPERM No permissions to access a channel\r\n"), BusErrorKind::NoPerm);
        assert_eq!(answered("-LOADING Redis is loading the dataset in memory\r\n"), BusErrorKind::Loading);
        assert_eq!(answered("-READONLY You can't write against a read only replica.\r\n"), BusErrorKind::ReadOnly);
        assert_eq!(answered("-OOM command not allowed when used memory > 'maxmemory'.\r\n"), BusErrorKind::OutOfMemory);
        assert_eq!(
            answered("-ERR OOM command not allowed, script: 1, on @user_script:1.\r\n"),
            BusErrorKind::OutOfMemory
        );
        assert_eq!(
            answered("-ERR The user executing the script can't run this command or subcommand, script: 1.\r\n"),
            BusErrorKind::NoPerm
        );
        assert_eq!(
            answered("-ERR ACL failure in script: No permissions to access a channel script: 1.\r\n"),
            BusErrorKind::NoPerm
        );
        assert_eq!(answered("-ERR whatever, in a ROOM\r\n"), BusErrorKind::Other);
    }

    #[test]
    fn failures_of_a_connection_have_kinds() {
        let of = |kind: std::io::ErrorKind| bus_error(&RedisError::from(std::io::Error::from(kind))).kind();
        assert_eq!(of(std::io::ErrorKind::ConnectionRefused), BusErrorKind::Refused);
        assert_eq!(of(std::io::ErrorKind::ConnectionReset), BusErrorKind::Closed);
        assert_eq!(of(std::io::ErrorKind::TimedOut), BusErrorKind::Timeout);
        assert_eq!(of(std::io::ErrorKind::HostUnreachable), BusErrorKind::Refused);
    }
}
