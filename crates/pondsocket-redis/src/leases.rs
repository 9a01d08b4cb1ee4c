//! The table of leases: a sorted set of nodes by the time at which their lease runs out, judged by the clock of Redis.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pondsocket::cluster::{BusError, Lease, NodeId};
use redis::{RedisError, Script, cmd};

use crate::error::bus_error;
use crate::options::RedisOptions;
use crate::publisher::Publisher;

/// One round trip for each beat. What has run out is taken off by whoever sees it first. The key goes a day after the last
/// beat of all.
const BEAT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
local lost = ARGV[3] == '1' and (not held or tonumber(held) <= now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
if #expired > 0 then redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) end
redis.call('EXPIRE', KEYS[1], 86400)
return {lost and 1 or 0, expired, redis.call('ZRANGE', KEYS[1], 0, -1)}
";

pub(crate) struct LeaseTable {
    key: String,
    script: String,
    /// Who has beaten and not said bye: if its lease is gone, it was lost. Held for a moment only.
    known: Mutex<HashSet<NodeId>>,
}

impl LeaseTable {
    pub(crate) fn new(options: &RedisOptions) -> LeaseTable {
        LeaseTable {
            key: format!("{}:v1:{}:__nodes__", options.prefix, options.namespace),
            script: Script::new(BEAT).get_hash().to_owned(),
            known: Mutex::default(),
        }
    }

    pub(crate) async fn beat(&self, publisher: &Publisher, me: &NodeId, ttl: Duration) -> Result<Lease, BusError> {
        let connection = publisher.connection()?;
        let again = u8::from(self.known().contains(me));
        let command = |name: &str, script: &str| {
            let mut command = cmd(name);
            command.arg(script).arg(1).arg(&self.key).arg(member(me)).arg(ttl.as_millis() as u64).arg(again);
            command
        };
        type Answer = (u8, Vec<String>, Vec<String>);
        let mut answer: Result<Answer, RedisError> =
            publisher.ask(&connection, &command("EVALSHA", &self.script)).await;
        if answer.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT")) {
            answer = publisher.ask(&connection, &command("EVAL", BEAT)).await;
        }
        let (lost, expired, alive) = answer.map_err(|error| bus_error(&error))?;
        self.known().insert(me.clone());
        let nodes = |members: &[String]| members.iter().filter_map(|member| node(member)).collect();
        Ok(Lease { alive: nodes(&alive), expired: nodes(&expired), was_expired: lost == 1 })
    }

    pub(crate) async fn bye(&self, publisher: &Publisher, me: &NodeId) -> Result<(), BusError> {
        let connection = publisher.connection()?;
        let mut command = cmd("ZREM");
        command.arg(&self.key).arg(member(me));
        publisher.ask::<()>(&connection, &command).await.map_err(|error| bus_error(&error))?;
        self.known().remove(me);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashSet<NodeId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As the node signs its messages, so that an operator finds it again.
fn member(node: &NodeId) -> String {
    node.source()
}

/// `None` is for what no node of ours has written.
fn node(member: &str) -> Option<NodeId> {
    let (name, incarnation) = member.rsplit_once('~')?;
    Some(NodeId { name: name.into(), incarnation: u64::from_str_radix(incarnation, 36).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_nodes() {
        for (name, incarnation) in [("web-3", 1_763_850_000_123), ("", 0), ("a~b~1", (1 << 53) - 1), ("\u{1f986}", 35)]
        {
            let id = NodeId { name: name.into(), incarnation };
            assert_eq!(node(&member(&id)), Some(id));
        }
        assert_eq!((node("web-3"), node("web~3!"), node("web~")), (None, None, None));
    }
}
