//! The table of leases: a sorted set of nodes by the time at which their leases expire, by the clock of Redis. Scripts
//! read and change it in one step, so that no two nodes draw one number, or report one expired lease.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pondsocket::cluster::{BusError, Lease, NodeId};
use redis::cmd;

use crate::error::bus_error;
use crate::options::RedisOptions;
use crate::publisher::Publisher;
use crate::script::KnownScript;

/// Renews a lease in one round trip. The first node that sees expired leases removes them. The key expires a day after
/// the last renewal of all nodes.
const RENEW: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expiry = redis.call('ZSCORE', KEYS[1], ARGV[1])
local lost = ARGV[3] == '1' and (not expiry or tonumber(expiry) <= now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
local last = redis.call('ZSCORE', KEYS[2], ARGV[4])
if not last or tonumber(last) < tonumber(ARGV[5]) then redis.call('ZADD', KEYS[2], ARGV[5], ARGV[4]) end
redis.call('EXPIRE', KEYS[2], 86400)
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
if #expired > 0 then redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) end
redis.call('EXPIRE', KEYS[1], 86400)
return {lost and 1 or 0, expired, redis.call('ZRANGE', KEYS[1], 0, -1)}
";

/// Numbers the next incarnation of a name. The number is larger than the last one in the second key and than that of
/// every lease in the first, since nodes that number their incarnations by their own clocks are only there. Of the
/// second key the ten thousand names with the latest incarnations are kept, because nodes without a configured name
/// draw a new name at each start. `string.format` is needed because Lua writes large numbers with an exponent.
const ACQUIRE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local name, most = ARGV[1], 2^53 - 2
local incarnation = now
local function follow(last) if last and last <= most and last >= incarnation then incarnation = last + 1 end end
follow(tonumber(redis.call('ZSCORE', KEYS[2], name) or nil))
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if string.sub(member, 1, #name + 1) == name .. '~' then follow(tonumber(string.sub(member, #name + 2), 36)) end
end
local digits, rest = '', incarnation
repeat
  local digit = rest % 36
  digits = string.sub('0123456789abcdefghijklmnopqrstuvwxyz', digit + 1, digit + 1) .. digits
  rest = (rest - digit) / 36
until rest == 0
local number = string.format('%.0f', incarnation)
redis.call('ZADD', KEYS[1], now + ARGV[2], name .. '~' .. digits)
redis.call('ZADD', KEYS[2], number, name)
for _, old in ipairs(redis.call('ZRANGE', KEYS[2], 0, -10001)) do redis.call('ZREM', KEYS[2], old) end
redis.call('EXPIRE', KEYS[1], 86400)
redis.call('EXPIRE', KEYS[2], 86400)
return number
";

pub(crate) struct LeaseTable {
    /// The key of the leases, and the key with the number of the last incarnation of each name.
    keys: [String; 2],
    renew: KnownScript,
    acquire: KnownScript,
    /// The nodes that have taken, and not released, a lease through this bus. If the lease of one is missing in the
    /// table, it has expired. Held for a moment only.
    known: Mutex<HashSet<NodeId>>,
}

impl LeaseTable {
    pub(crate) fn new(options: &RedisOptions) -> LeaseTable {
        LeaseTable {
            keys: ["__nodes__", "__lives__"].map(|key| format!("{}:v1:{}:{key}", options.prefix, options.namespace)),
            renew: KnownScript::new(RENEW),
            acquire: KnownScript::new(ACQUIRE),
            known: Mutex::default(),
        }
    }

    pub(crate) async fn renew(&self, publisher: &Publisher, me: &NodeId, ttl: Duration) -> Result<Lease, BusError> {
        let again = u8::from(self.known().contains(me));
        let arguments = [
            member(me),
            ttl.as_millis().to_string(),
            again.to_string(),
            me.name.to_string(),
            me.incarnation.to_string(),
        ];
        let (lost, expired, alive): (u8, Vec<String>, Vec<String>) =
            publisher.evaluate(&self.renew, &self.keys, &arguments).await?;
        // Only after an answer: a lease that was perhaps never taken cannot expire.
        self.known().insert(me.clone());
        let nodes = |members: &[String]| members.iter().filter_map(|member| node(member)).collect();
        Ok(Lease { alive: nodes(&alive), expired: nodes(&expired), was_expired: lost == 1 })
    }

    pub(crate) async fn acquire(&self, publisher: &Publisher, name: &str, ttl: Duration) -> Result<u64, BusError> {
        let arguments = [name, &ttl.as_millis().to_string()];
        let incarnation = publisher.evaluate(&self.acquire, &self.keys, &arguments).await?;
        self.known().insert(NodeId { name: name.into(), incarnation });
        Ok(incarnation)
    }

    pub(crate) async fn release(&self, publisher: &Publisher, me: &NodeId) -> Result<(), BusError> {
        let connection = publisher.connection()?;
        let mut command = cmd("ZREM");
        command.arg(&self.keys[0]).arg(member(me));
        publisher.ask::<()>(&connection, &command).await.map_err(|error| bus_error(&error))?;
        // A renewal after this counts as the first one.
        self.known().remove(me);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashSet<NodeId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The member of the set for a node: the source of its messages, so that an operator can match the two.
fn member(node: &NodeId) -> String {
    node.source()
}

/// The node of a member of the set; `None` if the member is not the source of a node.
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
