//! The Redis functions with which programs that are no nodes publish into channels. Histories use the first part of their
//! source, so that nodes and publishers append in the same way.

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd};

/// The source of the library `pondsocket` for `FUNCTION LOAD`, with the function `ps_publish`. Programs in any language publish with
/// it into a channel that keeps a history: see docs/publishing.md. [`RedisOptions::functions`](crate::RedisOptions::functions) loads it.
///
/// Without its first line it is a script for `EVAL`, for Redis 6.2.
///
/// ```
/// assert!(pondsocket_redis::FUNCTIONS.starts_with("#!lua name=pondsocket\n"));
/// ```
pub const FUNCTIONS: &str = include_str!("pondsocket.lua");

/// The line behind what nodes use.
const END: &str = "-- The end of what the nodes run.";

/// The part of [`FUNCTIONS`] that scripts of nodes begin with.
pub(crate) fn shared() -> &'static str {
    let (shared, _) = FUNCTIONS.split_once(END).expect("the line is there");
    shared.split_once('\n').map_or(shared, |(_, behind)| behind)
}

/// Loads the functions, unless Redis has them in this version or a newer one. Redis keeps them with its data, and copies them to replicas.
pub(crate) async fn load(redis: &mut MultiplexedConnection) -> RedisResult<()> {
    let loaded: RedisResult<u64> = cmd("FCALL").arg("ps_version").arg(0).query_async(redis).await;
    let mut load = cmd("FUNCTION");
    load.arg("LOAD");
    match loaded {
        Ok(loaded) if loaded >= version() => return Ok(()),
        Ok(_) => {
            load.arg("REPLACE");
        }
        // Redis has none.
        Err(error) if error.detail().is_some_and(|detail| detail.contains("Function not found")) => {}
        Err(error) => return Err(error),
    }
    match load.arg(FUNCTIONS).exec_async(redis).await {
        // Another node was faster.
        Err(error) if error.detail().is_some_and(|detail| detail.contains("already exists")) => Ok(()),
        loaded => loaded,
    }
}

/// The version of [`FUNCTIONS`].
fn version() -> u64 {
    let number = FUNCTIONS.lines().find_map(|line| line.strip_prefix("local VERSION = ")).map(str::parse);
    number.expect("the line is there").expect("a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_has_a_version_and_a_part_for_nodes() {
        assert!(version() >= 1);
        assert!(shared().contains("local function append(") && !shared().contains("#!lua"));
        assert!(!shared().contains("register_function"));
    }
}
