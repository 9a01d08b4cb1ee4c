//! The store of histories. A history has two keys: a stream of its messages, and a hash with its epoch, the offset of its
//! last message and its generation. Scripts read and change both in one step. Plain data: no connection, no waiting.

use std::time::Duration;

use bytes::Bytes;
use pondsocket::cluster::{Append, BusError, BusErrorKind, Epoch, Position, StoredHistory, StoredMessage, Topic};
use redis::{Cmd, cmd};

use crate::backoff::random;
use crate::options::RedisOptions;
use crate::script::KnownScript;

/// The time for which a history goes on behind its messages, in milliseconds: a day. A quiet channel must not begin anew with each
/// message, because its members would be told of a gap.
const NUMBERED: &str = "local NUMBERED = 86400000\n";

/// Reads what is held, and the generation of the data: the id of the replication, which changes when a replica becomes the
/// primary and when Redis starts. After both the end of a history may be missing, so a history of another generation is
/// not continued. The id is read each time, because a connection may outlive a demotion and the promotion that follows.
/// Some services hide it.
const HELD: &str = r"
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then return redis.error_reply('READONLY this Redis is a replica') end
local generation = string.match(info, 'master_replid:(%w+)')
  or string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if not generation then return redis.error_reply('ERR INFO shows no master_replid and no run_id') end
local held = redis.call('HMGET', KEYS[2], 'generation', 'epoch', 'top', 'until')
";

/// The time in milliseconds. `string.format` is needed because Lua writes large numbers with an exponent.
const TIME: &str = r"
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
";

/// Appends a message and publishes it. Its id in the stream is `<offset>-<time>`. A stream that is missing before its time
/// was evicted: then the history begins anew, as it does without the hash. If the topic is forbidden the history ends,
/// because the message must not be kept, and its offset must not be given again. A repeated message is most often one of
/// the last, so it is looked for in small steps. Keys that do not exist are not deleted: behind any other change Redis does
/// not refuse a message for lack of memory.
const APPEND: &str = r"
local function find(id)
  local from = '+'
  for _ = 1, 10 do
    local entries = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', 100)
    for _, entry in ipairs(entries) do
      if string.find(entry[2][2], id, 1, true) then return string.match(entry[1], '%d+') end
    end
    if #entries < 100 then return nil end
    from = '(' .. entries[100][1]
  end
end
local function add(epoch, top)
  local offset = string.format('%.0f', top + 1)
  local text = ARGV[2] .. epoch .. '.' .. offset .. ARGV[3]
  local id = offset .. '-' .. now
  local expires = string.format('%.0f', now + ARGV[5])
  if top + 0 > 0 then
    if redis.call('EXISTS', KEYS[1]) == 0 and now + 0 < held[4] + 0 then return nil end
    redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[4], id, 'd', text)
    redis.call('HSET', KEYS[2], 'top', offset, 'until', expires)
  else
    redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[4], id, 'd', text)
    redis.call('HSET', KEYS[2], 'generation', generation, 'epoch', epoch, 'top', offset, 'until', expires)
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  redis.call('PEXPIRE', KEYS[2], string.format('%.0f', ARGV[5] + NUMBERED))
  local published = redis.pcall('PUBLISH', ARGV[1], text)
  if type(published) == 'table' then
    redis.call('DEL', KEYS[1], KEYS[2])
    return published
  end
  return epoch .. '.' .. offset
end
if held[1] == generation then
  local known = ARGV[7] and find(ARGV[7])
  if known then return held[2] .. '.' .. known end
  local position = add(held[2], held[3])
  if position then return position end
end
if held[2] == ARGV[6] then return redis.error_reply('ERR this epoch is that of an earlier history') end
if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then redis.call('DEL', KEYS[1], KEYS[2]) end
return add(ARGV[6], 0)
";

/// Returns the epoch, the offset of the last message, the time, and the ids and texts of messages.
const READ: &str = r"
if held[1] ~= generation then return false end
local from = held[2] == ARGV[1] and ARGV[2] or '-'
local entries = ARGV[3] ~= '0' and redis.call('XREVRANGE', KEYS[1], '+', from, 'COUNT', ARGV[3]) or {}
local answer = {held[2], held[3], now}
for at = #entries, 1, -1 do
  answer[#answer + 1] = entries[at][1]
  answer[#answer + 1] = entries[at][2][2]
end
return answer
";

/// Begins a history anew, or only if there is none, as the last argument says.
const RESTART: &str = r"
if held[2] == ARGV[1] or (ARGV[3] == 'begin' and held[1] == generation) then return false end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[2], 'generation', generation, 'epoch', ARGV[1], 'top', '0')
redis.call('PEXPIRE', KEYS[2], string.format('%.0f', ARGV[2] + NUMBERED))
return false
";

/// The longest time for which Redis is told to keep something: longer ones are shortened to a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The keys of the histories and records of one namespace, and the scripts.
#[derive(Debug)]
pub(crate) struct Histories {
    /// `<prefix>:v1:<namespace>:`
    base: String,
    append: KnownScript,
    read: KnownScript,
    restart: KnownScript,
}

/// A script with its keys and arguments.
pub(crate) struct Question<'a> {
    pub(crate) script: &'a KnownScript,
    pub(crate) keys: [String; 2],
    pub(crate) arguments: Vec<String>,
}

/// The answer of the script for reading; `None` if there is no history.
pub(crate) type ReadAnswer = Option<Vec<Vec<u8>>>;

impl Histories {
    pub(crate) fn new(options: &RedisOptions) -> Histories {
        Histories {
            base: format!("{}:v1:{}:", options.prefix, options.namespace),
            append: KnownScript::new([HELD, TIME, NUMBERED, APPEND].concat()),
            read: KnownScript::new([HELD, TIME, READ].concat()),
            restart: KnownScript::new([HELD, NUMBERED, RESTART].concat()),
        }
    }

    /// The command that appends a message. It sends the script as a whole, or by its hash if Redis knows it.
    pub(crate) fn append(&self, append: &Append, whole: bool) -> Cmd {
        // An earlier attempt may have begun a history, now lost, with the epoch of a repeated message.
        let epoch = if append.is_repeated { Epoch::new(random() as u32) } else { append.epoch };
        let mut command = self.append.command(whole, &self.keys(&append.topic));
        command.arg(append.topic.as_str()).arg(&append.head[..]).arg(&append.tail[..]);
        command.arg(count(append.messages)).arg(millis(append.ttl)).arg(epoch.to_string());
        if append.is_repeated {
            command.arg(&*append.id);
        }
        command
    }

    pub(crate) fn read(&self, topic: &Topic, after: Option<Position>, most: usize) -> Question<'_> {
        // Behind the offset 2^64 - 1 there is nothing, and neither is there at it.
        let (epoch, from) = after
            .map_or(Default::default(), |after| (after.epoch.to_string(), after.offset.saturating_add(1).to_string()));
        let arguments = vec![epoch, from, count(most).to_string()];
        Question { script: &self.read, keys: self.keys(topic), arguments }
    }

    pub(crate) fn begin(&self, topic: &Topic, epoch: Epoch, ttl: Duration) -> Question<'_> {
        let mut question = self.restart(topic, epoch, ttl);
        question.arguments.push("begin".into());
        question
    }

    pub(crate) fn restart(&self, topic: &Topic, epoch: Epoch, ttl: Duration) -> Question<'_> {
        let arguments = vec![epoch.to_string(), millis(ttl).to_string()];
        Question { script: &self.restart, keys: self.keys(topic), arguments }
    }

    pub(crate) fn put(&self, key: &str, record: &[u8], ttl: Duration) -> Cmd {
        let mut command = cmd("SET");
        command.arg(self.record(key)).arg(record).arg("PX").arg(millis(ttl));
        command
    }

    pub(crate) fn take(&self, key: &str) -> Cmd {
        let mut command = cmd("GETDEL");
        command.arg(self.record(key));
        command
    }

    /// The keys of the stream and of the hash. They have a hash tag, so that they are in one slot.
    fn keys(&self, topic: &Topic) -> [String; 2] {
        let base = &self.base;
        let key = |part: &str| match topic.as_str().strip_prefix(base.as_str()) {
            Some(rest) => format!("{base}__history__:{{{rest}}}:{part}"),
            // A topic of another namespace, whose key must not be that of a topic of this one.
            None => format!("{base}__history__::{{{topic}}}:{part}"),
        };
        [key("s"), key("m")]
    }

    fn record(&self, key: &str) -> String {
        format!("{}__sessions__:{key}", self.base)
    }
}

/// The history that the script for reading has returned.
pub(crate) fn history(answer: ReadAnswer) -> Result<StoredHistory, BusError> {
    let Some(answer) = answer else { return Ok(StoredHistory::default()) };
    parse(answer).ok_or_else(|| BusError::new(BusErrorKind::Other, "the answer of Redis is no history"))
}

fn parse(answer: Vec<Vec<u8>>) -> Option<StoredHistory> {
    let mut parts = answer.into_iter();
    let epoch = text(&parts.next()?)?.parse().ok()?;
    let offset = text(&parts.next()?)?.parse().ok()?;
    let now: u64 = text(&parts.next()?)?.parse().ok()?;
    let mut messages = Vec::with_capacity(parts.len() / 2);
    while let Some(id) = parts.next() {
        let (offset, since) = text(&id)?.split_once('-')?;
        // The clock of Redis may have been set back.
        let age = Duration::from_millis(now.saturating_sub(since.parse().ok()?));
        messages.push(StoredMessage { offset: offset.parse().ok()?, age, data: Bytes::from(parts.next()?) });
    }
    Some(StoredHistory { position: Some(Position { epoch, offset }), messages })
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Redis takes signed numbers.
fn count(messages: usize) -> usize {
    messages.min(u32::MAX as usize)
}

/// At least one: Redis refuses zero for a record, and would delete a history.
fn millis(ttl: Duration) -> u64 {
    ttl.min(LONGEST).as_millis().max(1) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_topics_have_one_key() {
        let histories = Histories::new(&RedisOptions::default());
        let base = "pondsocket:v1:default:";
        let names = ["a", "a:b", "{a}", "a}:s", "", ":", "\u{1f986}", base];
        let topics: Vec<_> = names.iter().flat_map(|name| [(*name).to_owned(), format!("{base}{name}")]).collect();
        let distinct: HashSet<_> = topics.iter().collect();
        let keys: HashSet<_> = distinct.iter().flat_map(|topic| histories.keys(&topic.as_str().into())).collect();
        assert_eq!(keys.len(), distinct.len() * 2);
        assert_eq!(
            histories.keys(&format!("{base}api/socket:/chat/1").as_str().into()),
            ["s", "m"].map(|part| format!("{base}__history__:{{api/socket:/chat/1}}:{part}"))
        );
    }

    #[test]
    fn an_answer_that_is_no_history_is_an_error() {
        let answer = |parts: &[&str]| Some(parts.iter().map(|part| part.as_bytes().to_vec()).collect());
        assert_eq!(history(None), Ok(StoredHistory::default()));
        let read = history(answer(&["7kq2fw", "42", "2000", "42-1990", "text"])).expect("a history");
        let message = StoredMessage { offset: 42, age: Duration::from_millis(10), data: "text".into() };
        assert_eq!((read.position.expect("some").to_string(), read.messages), ("7kq2fw.42".into(), vec![message]));
        for wrong in [
            &[][..],
            &["7kq2fw", "42"],
            &["?", "42", "2000"],
            &["7kq2fw", "x", "2000"],
            &["7kq2fw", "42", "2000", "42-1990"],
            &["7kq2fw", "42", "2000", "42", "text"],
        ] {
            assert!(history(answer(wrong)).is_err(), "{wrong:?}");
        }
        let future = history(answer(&["7kq2fw", "1", "5", "1-9", "text"])).expect("a history");
        assert_eq!(future.messages[0].age, Duration::ZERO);
    }

    #[test]
    fn times_are_within_the_range_of_redis() {
        assert_eq!([Duration::ZERO, Duration::from_micros(1), Duration::from_secs(60)].map(millis), [1, 1, 60_000]);
        assert!(millis(Duration::MAX) < i64::MAX as u64 / 1000);
    }
}
