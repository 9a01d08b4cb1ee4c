//! The store of histories. A history has two keys: a stream of its messages, and a hash with its epoch, the offset of its
//! last message and its generation. Scripts read and change both in one step. Plain data: no connection, no waiting.

use std::time::Duration;

use bytes::Bytes;
use pondsocket::cluster::{
    Append, BusError, BusErrorKind, Epoch, Position, StoredHistory, StoredMessage, StoredRecord, Topic,
};
use redis::{Cmd, cmd};

use crate::backoff::random;
use crate::functions;
use crate::options::RedisOptions;
use crate::script::KnownScript;

/// Appends a message and publishes it. A repeated message is most often one of the last, so it is looked for in small steps.
///
/// A message may arrive long after its node has given up the connection on which it was sent, behind a repeat on the next one. So a
/// repeat that is appended leaves the number of its connection, and a message of an earlier connection of the same node is refused.
const APPEND: &str = r"
local is_known = false
local function find()
  local from = '+'
  for _ = 1, 10 do
    local entries = redis.call('XREVRANGE', KEYS[1], from, '-', 'COUNT', 100)
    for _, entry in ipairs(entries) do
      if string.find(entry[2][2], ARGV[10], 1, true) then
        is_known = true
        return string.match(entry[1], '%d+')
      end
    end
    if #entries < 100 then return nil end
    from = '(' .. entries[100][1]
  end
end
local history, failure = read_state(KEYS, ARGV[7])
if not history then return failure end
if history.connection and history.connection + 0 > ARGV[8] + 0 then
  return redis.error_reply('ERR messages were repeated on a later connection')
end
local position = append(KEYS, ARGV[1], history, milliseconds(redis.call('TIME')), {
  text = function(position) return ARGV[2] .. position .. ARGV[3] end,
  known = ARGV[10] and find,
  messages = ARGV[4],
  bytes = ARGV[9],
  ttl = ARGV[5],
  epoch = ARGV[6],
})
if ARGV[10] and not is_known and type(position) == 'string' then redis.call('HSET', KEYS[2], ARGV[7], ARGV[8]) end
return position
";

/// Returns the epoch, the offset of the last message, the time, and the ids and texts of messages.
const READ: &str = r"
local history, failure = read_state(KEYS)
if not history then return failure end
if not history.goes_on then return false end
local from = history.epoch == ARGV[1] and ARGV[2] or '-'
local entries = ARGV[3] ~= '0' and redis.call('XREVRANGE', KEYS[1], '+', from, 'COUNT', ARGV[3]) or {}
local answer = {history.epoch, history.top, milliseconds(redis.call('TIME'))}
for at = #entries, 1, -1 do
  answer[#answer + 1] = entries[at][1]
  answer[#answer + 1] = entries[at][2][2]
end
return answer
";

/// Begins a history, unless there is one. One without a message lives for the longest time that was asked for, from the last time
/// that it was. It has no message as long as its `top` is 0.
const BEGIN: &str = r"
local history, failure = read_state(KEYS)
if not history then return failure end
if history.goes_on then
  if history.top ~= '0' then return false end
  local life = redis.call('HMGET', KEYS[2], 'life')[1]
  if not life or life + 0 > ARGV[2] + 0 then return false end
  redis.call('HSET', KEYS[2], 'life', ARGV[2])
elseif history.epoch == ARGV[1] then
  return false
else
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[2], 'generation', history.generation, 'epoch', ARGV[1], 'top', '0', 'life', ARGV[2])
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return false
";

/// Begins a history anew.
const RESTART: &str = r"
local history, failure = read_state(KEYS)
if not history then return failure end
if history.epoch == ARGV[1] then return false end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[2], 'generation', history.generation, 'epoch', ARGV[1], 'top', '0')
redis.call('PEXPIRE', KEYS[2], whole(ARGV[2] + NUMBERED))
return false
";

/// Keeps a record, which begins with its version, unless one of another version than those that it may replace is kept.
const PUT: &str = r"
local kept = redis.call('GET', KEYS[1])
local version = kept and kept ~= ARGV[1] and string.match(kept, '^%d+')
if version and version + 0 > ARGV[2] + 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
";

/// The longest time for which Redis is told to keep something: longer ones are shortened to a hundred years.
const MAX_LIFE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The most bytes that Redis is told to keep: Lua holds no larger number exactly.
const MAX_BYTES: usize = 1 << 53;

/// The keys of the histories and records of one namespace, and the scripts.
#[derive(Debug)]
pub(crate) struct Histories {
    /// `<prefix>:v1:<namespace>:`
    base: String,
    /// `writer:<id>`, the name of the field for the connections of this bus. The id is a random number.
    writer: String,
    append: KnownScript,
    read: KnownScript,
    begin: KnownScript,
    restart: KnownScript,
    put: KnownScript,
}

/// A script with its keys and arguments.
pub(crate) struct Question<'a> {
    pub(crate) script: &'a KnownScript,
    pub(crate) keys: [String; 2],
    pub(crate) arguments: Vec<String>,
}

/// The question that keeps a record: its script, its key and its arguments.
pub(crate) struct PutQuestion<'a> {
    pub(crate) script: &'a KnownScript,
    pub(crate) key: [String; 1],
    pub(crate) arguments: [Vec<u8>; 3],
}

/// The answer of the script for reading; `None` if there is no history.
pub(crate) type ReadAnswer = Option<Vec<Vec<u8>>>;

impl Histories {
    pub(crate) fn new(options: &RedisOptions) -> Histories {
        Histories {
            base: format!("{}:v1:{}:", options.prefix, options.namespace),
            writer: format!("writer:{:x}", random()),
            append: script(APPEND),
            read: script(READ),
            begin: script(BEGIN),
            restart: script(RESTART),
            put: KnownScript::new(PUT),
        }
    }

    /// The command that appends a message on the connection of this number, which is larger than those of all before. It sends the
    /// script as a whole, or by its hash if Redis knows it.
    pub(crate) fn append(&self, append: &Append, connection: u64, whole: bool) -> Cmd {
        // An earlier attempt may have begun a history, now lost, with the epoch of a repeated message.
        let epoch = if append.is_repeated { Epoch::new(random() as u32) } else { append.epoch };
        let mut command = self.append.command(whole, &self.keys(&append.topic));
        command.arg(append.topic.as_str()).arg(&append.head[..]).arg(&append.tail[..]);
        command.arg(count(append.messages)).arg(millis(append.ttl)).arg(epoch.to_string());
        command.arg(&self.writer).arg(connection).arg(append.bytes.min(MAX_BYTES));
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

    pub(crate) fn begin(&self, topic: &Topic, epoch: Epoch, life: Duration) -> Question<'_> {
        let arguments = vec![epoch.to_string(), millis(life).to_string()];
        Question { script: &self.begin, keys: self.keys(topic), arguments }
    }

    pub(crate) fn restart(&self, topic: &Topic, epoch: Epoch, ttl: Duration) -> Question<'_> {
        let arguments = vec![epoch.to_string(), millis(ttl).to_string()];
        Question { script: &self.restart, keys: self.keys(topic), arguments }
    }

    pub(crate) fn get(&self, key: &str) -> Cmd {
        let mut command = cmd("GET");
        command.arg(self.record(key));
        command
    }

    pub(crate) fn put(&self, key: &str, record: &StoredRecord, replaces: u64, ttl: Duration) -> PutQuestion<'_> {
        let StoredRecord { version, data } = record;
        let text = [version.to_string().as_bytes(), b" ", data].concat();
        let arguments = [text, replaces.to_string().into(), millis(ttl).to_string().into()];
        PutQuestion { script: &self.put, key: [self.record(key)], arguments }
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

/// A script that uses the first part of the functions, which publishers use as well.
fn script(code: &str) -> KnownScript {
    KnownScript::new([functions::shared(), code].concat())
}

/// The history that the script for reading has returned.
pub(crate) fn history(answer: ReadAnswer) -> Result<StoredHistory, BusError> {
    let Some(answer) = answer else { return Ok(StoredHistory::default()) };
    parse(answer).ok_or_else(|| BusError::new(BusErrorKind::Other, "the answer of Redis is no history"))
}

/// The record that a key has, as [`Histories::put`] has written it.
pub(crate) fn record(kept: &[u8]) -> Result<StoredRecord, BusError> {
    let parse = || {
        let at = kept.iter().position(|byte| *byte == b' ')?;
        let version = text(&kept[..at])?.parse().ok()?;
        Some(StoredRecord { version, data: Bytes::copy_from_slice(&kept[at + 1..]) })
    };
    parse().ok_or_else(|| BusError::new(BusErrorKind::Other, "the answer of Redis is no record"))
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
    ttl.min(MAX_LIFE).as_millis().max(1) as u64
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
