//! The format of the file in which histories, members and sessions outlive a server, as bytes without I/O of its own.
//!
//! The file is text: a line of JSON for each record. Messages stand as they were sent. They and the ghosts belong to the channel
//! above them, the messages that were handled to the session above them, and channels and sessions to the endpoint above
//! them. The last record has the SHA-256 of all lines above it; a file that does not end with it is incomplete.
//!
//! ```text
//! {"histories":{"version":2,"written":1764446400000}}
//! {"endpoint":{"path":"/api/socket"}}
//! {"channel":{"name":"/chat/1","lobby":"/chat/:room","before":"7kq2fw.1041","gap":"trimmed","unused":20,"lingers":0}}
//! {"message":{"age":20,"text":{"action":"BROADCAST","event":"said","requestId":"7kq2fw.1042",..}}}
//! {"ghost":{"user":"bob","left":9200,"assigns":[["role","host"]],"presence":{"mood":"calm"}}}
//! {"session":{"key":"0f..","user":"ada","expires":119000,"channels":[["/chat/1","7kq2fw.1041",1042]]}}
//! {"handled":{"channel":"/chat/1","id":"7d0f..","answers":[["reply",{"action":"SYSTEM",..}]]}}
//! {"end":{"sha256":"9b.."}}
//! ```
//!
//! Version 1 has neither ghosts nor handled messages.

mod record;

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pondsocket_proto::channel::GapReason;
use sha2::{Digest, Sha256};

use crate::engine::sessions::SavedSession;
use record::{Record, millis};
pub(crate) use record::{SavedChannel, SavedEndpoint};

/// The version of the format.
const VERSION: u32 = 2;

/// The oldest version that is read.
const OLDEST: u32 = 1;

/// The most bytes of the assigns and presence of a ghost, so that its line is one that is read.
pub(crate) const MAX_GHOST: usize = 1024 * 1024;

/// The most bytes of a line beyond the messages that it may hold: a session has many names of channels.
const MAX_LINE: usize = 4 * 1024 * 1024;

/// The content of a file.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) written: SystemTime,
    pub(crate) endpoints: Vec<SavedEndpoint>,
}

/// A failure to read a file.
#[derive(Debug)]
pub(crate) enum FileError {
    Io(io::Error),
    /// It is no file of histories.
    Foreign,
    /// It has another version.
    Version(u32),
    /// It ends too early.
    Incomplete,
    /// It is not as it was written.
    Damaged,
}

/// Writes a file, record by record.
pub(crate) struct HistoryWriter<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
    pub(crate) written: Written,
}

/// The amount that was written, or restored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) channels: usize,
    pub(crate) messages: usize,
    pub(crate) ghosts: usize,
    pub(crate) sessions: usize,
    pub(crate) bytes: u64,
}

/// The most bytes that are read: of messages that are kept, and of answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    pub(crate) messages: usize,
    pub(crate) answers: usize,
}

impl<'a> HistoryWriter<'a> {
    /// Begins a file, as of this time.
    pub(crate) fn new(out: &'a mut dyn Write, now: SystemTime) -> io::Result<HistoryWriter<'a>> {
        let written = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut writer = HistoryWriter { out, hash: Sha256::new(), written: Written::default() };
        writer.write(&Record::Histories { version: VERSION, written: millis(written) })?;
        Ok(writer)
    }

    /// The channels and sessions from here on are those of this endpoint.
    pub(crate) fn endpoint(&mut self, path: &str) -> io::Result<()> {
        self.write(&Record::Endpoint { path: path.into() })
    }

    pub(crate) fn channel(&mut self, channel: &SavedChannel) -> io::Result<()> {
        self.write(&Record::channel(channel))?;
        for message in channel.ring.iter().flat_map(|ring| &ring.messages) {
            self.write(&Record::message(message)?)?;
            self.written.messages += 1;
        }
        for ghost in &channel.ghosts {
            self.write(&Record::ghost(ghost)?)?;
            self.written.ghosts += 1;
        }
        self.written.channels += 1;
        Ok(())
    }

    pub(crate) fn session(&mut self, session: &SavedSession) -> io::Result<()> {
        self.written.sessions += 1;
        self.write(&Record::session(session))?;
        session.handled.iter().try_for_each(|handled| self.write(&Record::Handled(handled.record())))
    }

    /// Ends the file. Returns what it holds.
    pub(crate) fn finish(mut self) -> io::Result<Written> {
        let sha256 = hex(&self.hash.clone().finalize());
        self.write(&Record::End { sha256: sha256.into() })?;
        self.out.flush()?;
        Ok(self.written)
    }

    fn write(&mut self, record: &Record<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.hash.update(&line);
        self.written.bytes += line.len() as u64;
        self.out.write_all(&line)
    }
}

/// Reads a whole file. It keeps at most the bytes of messages that `limits` allow: the channels behind them have their positions and no
/// messages, as if they had been emptied for others. Of the answers, too: the messages behind them are known without theirs.
pub(crate) fn read(input: &mut dyn BufRead, limits: ReadLimits) -> Result<Saved, FileError> {
    let (mut hash, mut line, mut left) = (Sha256::new(), Vec::new(), limits);
    let mut saved: Option<Saved> = None;
    loop {
        line.clear();
        // A line that is longer than any that was written is not read to its end.
        let longest = limits.messages.saturating_add(MAX_LINE) as u64;
        (&mut *input).take(longest).read_until(b'\n', &mut line).map_err(FileError::Io)?;
        let is_whole = line.ends_with(b"\n");
        let record = match serde_json::from_slice(&line) {
            Ok(record) if is_whole => record,
            _ if saved.is_none() => return Err(FileError::Foreign),
            _ if !is_whole => return Err(FileError::Incomplete),
            _ => return Err(FileError::Damaged),
        };
        match (record, &mut saved) {
            (Record::Histories { version: OLDEST..=VERSION, written }, None) => {
                let written = UNIX_EPOCH.checked_add(Duration::from_millis(written)).ok_or(FileError::Damaged)?;
                saved = Some(Saved { written, endpoints: Vec::new() });
            }
            (Record::Histories { version, .. }, None) => return Err(FileError::Version(version)),
            (_, None) => return Err(FileError::Foreign),
            (Record::Histories { .. }, Some(_)) => return Err(FileError::Damaged),
            (Record::End { sha256 }, Some(_)) => {
                let is_last = input.fill_buf().map_err(FileError::Io)?.is_empty();
                let is_as_written = is_last && sha256 == hex(&hash.finalize());
                return saved.filter(|_| is_as_written).ok_or(FileError::Damaged);
            }
            (record, Some(saved)) => saved.add(record, &mut left).ok_or(FileError::Damaged)?,
        }
        hash.update(&line);
    }
}

impl Saved {
    /// Leaves out what a server does not go on with after so long. The ghosts stay: they are yet to leave.
    pub(crate) fn keep_ghosts(&mut self) {
        for SavedEndpoint { channels, sessions, .. } in &mut self.endpoints {
            channels.iter_mut().for_each(|channel| channel.ring = None);
            sessions.clear();
        }
    }

    /// Adds a record to what stands above it. `None` if it cannot stand there.
    fn add(&mut self, record: Record<'_>, left: &mut ReadLimits) -> Option<()> {
        if let Record::Endpoint { path } = record {
            self.endpoints.push(SavedEndpoint { path: path.into(), channels: Vec::new(), sessions: Vec::new() });
            return Some(());
        }
        let SavedEndpoint { channels, sessions, .. } = self.endpoints.last_mut()?;
        match record {
            Record::Channel { .. } => channels.push(record.into_channel()?),
            Record::Message { .. } => {
                let (ring, message) = (channels.last_mut()?.ring.as_mut()?, record.into_message()?);
                let length = message.text.len();
                ring.messages.push(message);
                match left.messages.checked_sub(length) {
                    Some(rest) => left.messages = rest,
                    None => {
                        ring.before.offset = ring.before.offset.checked_add(ring.messages.len() as u64)?;
                        (ring.messages, ring.removed_for) = (Vec::new(), GapReason::Trimmed);
                    }
                }
            }
            Record::Ghost { .. } => channels.last_mut()?.ghosts.push(record.into_ghost()?),
            Record::Session { .. } => sessions.push(record.into_session()?),
            Record::Handled(_) => {
                let mut handled = record.into_handled()?;
                match left.answers.checked_sub(handled.answered.bytes()) {
                    Some(rest) => left.answers = rest,
                    None => drop(handled.answered.forget()),
                }
                sessions.last_mut()?.handled.push(handled);
            }
            Record::Histories { .. } | Record::Endpoint { .. } | Record::End { .. } => return None,
        }
        Some(())
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Io(error) => error.fmt(f),
            FileError::Foreign => f.write_str("it is not a file of histories"),
            FileError::Version(version) => write!(f, "its version is {version}, and not {OLDEST} to {VERSION}"),
            FileError::Incomplete => f.write_str("it is incomplete"),
            FileError::Damaged => f.write_str("it is damaged"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use pondsocket_proto::channel::{Assigns, Progress, SavedGhost, SavedMessage, SavedRing};
    use pondsocket_proto::id::{ChannelName, UserId};
    use pondsocket_proto::position::{Epoch, Position};
    use pondsocket_proto::wire::{Json, Object};
    use proptest::prelude::*;

    use super::*;
    use crate::engine::handled::{Answer, AnswerKind, Answered, HandledMessage};
    use crate::engine::session_key::SessionKey;

    const LIMITS: ReadLimits = ReadLimits { messages: 1 << 20, answers: 1 << 20 };

    fn position() -> impl Strategy<Value = Position> {
        (any::<u32>(), 0..1_000_000u64).prop_map(|(epoch, offset)| Position { epoch: Epoch::new(epoch), offset })
    }

    fn name() -> impl Strategy<Value = ChannelName> {
        "/[a-zé\"\\\\]{1,9}".prop_map(|name| ChannelName::new(&name, 512).expect("a name"))
    }

    fn user() -> impl Strategy<Value = UserId> {
        "[a-zü\"/]{1,9}".prop_map(|user| UserId::new(&user).expect("an id"))
    }

    fn message() -> impl Strategy<Value = SavedMessage> {
        // Texts stay as they are, to the byte: spaces and escapes included.
        let text = ("[a-z\u{e9}]{0,20}", any::<bool>())
            .prop_map(|(text, space)| format!("{{\"a\":{}\"{text}\\u0041\\n\"}}", if space { "  " } else { "" }));
        (text, any::<u64>(), prop::option::of(user())).prop_map(|(text, age, except)| SavedMessage {
            text: text.into(),
            age,
            except,
        })
    }

    fn channel() -> impl Strategy<Value = SavedChannel> {
        let removed = prop::collection::vec((user(), any::<u64>()), 0..3);
        let messages = prop::collection::vec(message(), 0..5);
        let ring = (position(), messages, any::<(bool, u64, u64)>(), "[a-z_]{0,3}", removed);
        let ring = ring.prop_map(|(before, messages, (trimmed, unused, lingers), stamp, removed)| SavedRing {
            before,
            messages,
            removed_for: if trimmed { GapReason::Trimmed } else { GapReason::Expired },
            stamp: (!stamp.is_empty()).then(|| stamp.into()),
            removed,
            unused_for: unused,
            lingers_for: lingers,
        });
        let parts = (prop::option::of(ring), prop::collection::vec(ghost(), 0..3));
        (name(), "/[a-z:]{1,9}", parts).prop_map(|(name, lobby, (ring, ghosts))| SavedChannel {
            name,
            lobby: lobby.into(),
            ring,
            ghosts,
        })
    }

    fn ghost() -> impl Strategy<Value = SavedGhost> {
        let values = ["null", "1e400", r#"{"a" : "\u0041","a":2}"#, r#""é\ud800""#, "[[]]"];
        let assigns = prop::collection::btree_map("[a-zé\"\\\\]{0,3}", prop::sample::select(values.to_vec()), 0..4);
        (user(), any::<u64>(), assigns, prop::option::of("[a-z]{0,3}")).prop_map(|(user, left, assigns, mood)| {
            let entry = |(key, value): (String, &str)| (key, Json::from_raw(value).expect("JSON"));
            let assigns = Assigns::from_entries(assigns.into_iter().map(entry).collect()).expect("different keys");
            let presence = mood.map(|mood| {
                Object::encode(&[("mood", mood)].into_iter().collect::<std::collections::BTreeMap<_, _>>())
                    .expect("an object")
            });
            SavedGhost { user, left, assigns, presence }
        })
    }

    fn handled() -> impl Strategy<Value = HandledMessage> {
        let kind = prop::sample::select(vec![AnswerKind::Reply, AnswerKind::Error]);
        let answer = (kind, "[a-z]{0,9}")
            .prop_map(|(kind, text)| Answer { kind, text: format!("{{\"a\":  \"{text}\"}}").into() });
        let answers = prop::collection::vec(answer, 0..3);
        (name(), "[a-z\"]{0,9}", answers, any::<bool>()).prop_map(|(channel, id, answers, is_forgotten)| {
            HandledMessage { channel, request_id: id.into(), answered: Answered { answers, is_forgotten } }
        })
    }

    fn session() -> impl Strategy<Value = SavedSession> {
        let progress = (position(), any::<u64>()).prop_map(|(Position { epoch, offset }, sent)| Progress {
            epoch,
            proven: offset,
            sent,
        });
        let parts = (prop::collection::vec((name(), progress), 0..4), prop::collection::vec(handled(), 0..4));
        (any::<u64>(), user(), any::<u32>(), parts).prop_map(|(key, user, expires, (channels, handled))| SavedSession {
            key: SessionKey::of(&key.to_string(), None),
            user,
            expires_in: Duration::from_millis(expires.into()),
            channels,
            handled,
        })
    }

    fn endpoint() -> impl Strategy<Value = SavedEndpoint> {
        let parts = (prop::collection::vec(channel(), 0..4), prop::collection::vec(session(), 0..4));
        ("/[a-z]{0,5}", parts).prop_map(|(path, (channels, sessions))| SavedEndpoint {
            path: path.into(),
            channels,
            sessions,
        })
    }

    fn write(endpoints: &[SavedEndpoint]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = HistoryWriter::new(&mut bytes, UNIX_EPOCH + Duration::from_millis(1234)).expect("memory");
        for SavedEndpoint { path, channels, sessions } in endpoints {
            writer.endpoint(path).expect("memory");
            channels.iter().for_each(|channel| writer.channel(channel).expect("memory"));
            sessions.iter().for_each(|session| writer.session(session).expect("memory"));
        }
        writer.finish().expect("memory");
        bytes
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(endpoints in prop::collection::vec(endpoint(), 0..3)) {
            let bytes = write(&endpoints);
            let saved = read(&mut &bytes[..], LIMITS).expect("it is whole");
            prop_assert_eq!(saved.written, UNIX_EPOCH + Duration::from_millis(1234));
            prop_assert_eq!(format!("{:?}", saved.endpoints), format!("{endpoints:?}"));
        }

        /// A file that is cut off, or has one other byte, is refused.
        #[test]
        fn a_file_that_is_not_whole_is_refused(
            endpoints in prop::collection::vec(endpoint(), 1..3),
            (at, by) in (any::<prop::sample::Index>(), 1..255u8),
        ) {
            let mut bytes = write(&endpoints);
            let at = at.index(bytes.len());
            prop_assert!(read(&mut &bytes[..at], LIMITS).is_err());
            bytes[at] ^= by;
            prop_assert!(read(&mut &bytes[..], LIMITS).is_err(), "byte {}", at);
        }

        /// Nothing that a file may contain does harm.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&mut &bytes[..], LIMITS).is_err());
        }

        /// The same for files with a right checksum, whose records stand where they should not.
        #[test]
        fn any_records_are_read_or_refused(
            records in prop::collection::vec(prop::sample::select(vec![
                r#"{"endpoint":{"path":"/"}}"#,
                r#"{"channel":{"name":"/a","lobby":"/:x","before":"000001.18446744073709551615","gap":"trimmed","unused":1,"lingers":2}}"#,
                r#"{"channel":{"name":"","lobby":"/:x","before":"000001.0","gap":"trimmed","unused":1,"lingers":2}}"#,
                r#"{"channel":{"name":"/a","lobby":"/:x","before":"000001.0","gap":"epoch","unused":1,"lingers":2}}"#,
                r#"{"message":{"age":18446744073709551615,"text":{}}}"#,
                r#"{"channel":{"name":"/a","lobby":"/:x"}}"#,
                r#"{"channel":{"name":"/a","lobby":"/:x","before":"000001.0"}}"#,
                r#"{"ghost":{"user":"a","left":18446744073709551615,"assigns":[["a",1],["b",null]],"presence":{}}}"#,
                r#"{"ghost":{"user":"a","left":1,"assigns":[["a",1],["a",2]]}}"#,
                r#"{"ghost":{"user":"","left":1,"presence":[]}}"#,
                r#"{"handled":{"channel":"/a","id":"1","answers":[["reply",{}],["error",1]],"forgotten":true}}"#,
                r#"{"handled":{"channel":"","id":""}}"#,
                r#"{"session":{"key":"00","user":"a","expires":18446744073709551615,"channels":[]}}"#,
                r#"{"session":{"key":"00000000000000000000000000000000","user":"a","expires":1,"channels":[]}}"#,
                r#"{"end":{"sha256":""}}"#,
                r#"{"histories":{"version":1,"written":18446744073709551615}}"#,
            ]), 0..6),
            (version, messages, answers) in (1..=2_u32, 0..4usize, 0..4usize),
        ) {
            let mut bytes = format!("{{\"histories\":{{\"version\":{version},\"written\":0}}}}").into_bytes();
            for record in records {
                bytes.extend([b"\n", record.as_bytes()].concat());
            }
            bytes.push(b'\n');
            let end = format!("{{\"end\":{{\"sha256\":\"{}\"}}}}\n", hex(&Sha256::digest(&bytes)));
            bytes.extend(end.bytes());
            let _ = read(&mut &bytes[..], ReadLimits { messages, answers });
        }
    }

    #[test]
    fn a_file_of_the_version_before_is_read() {
        let mut bytes = [
            r#"{"histories":{"version":1,"written":1234}}"#,
            r#"{"endpoint":{"path":"/"}}"#,
            r#"{"channel":{"name":"/chat/1","lobby":"/chat/:room","before":"7kq2fw.1041","gap":"trimmed","unused":20,"lingers":0}}"#,
            r#"{"message":{"age":20,"text":{"a":1}}}"#,
            r#"{"session":{"key":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","user":"ada","expires":9,"channels":[["/chat/1","7kq2fw.1041",1042]]}}"#,
        ]
        .join("\n")
        .into_bytes();
        bytes.push(b'\n');
        let end = format!("{{\"end\":{{\"sha256\":\"{}\"}}}}\n", hex(&Sha256::digest(&bytes)));
        bytes.extend(end.bytes());
        let saved = read(&mut &bytes[..], LIMITS).expect("it is whole");
        let SavedEndpoint { channels, sessions, .. } = &saved.endpoints[0];
        let ring = channels[0].ring.as_ref().expect("a history");
        assert_eq!((ring.before.offset, ring.messages.len(), channels[0].ghosts.len()), (1041, 1, 0));
        assert_eq!((sessions[0].channels[0].1.sent, sessions[0].handled.len()), (1042, 0));
    }

    #[test]
    fn answers_over_the_limit_are_left_out_and_their_messages_are_known() {
        let answer = |text: &'static str| Answer { kind: AnswerKind::Reply, text: text.into() };
        let message = |id: &str, answers: Vec<Answer>| HandledMessage {
            channel: ChannelName::new("/a", 9).expect("a name"),
            request_id: id.into(),
            answered: Answered { answers, is_forgotten: false },
        };
        let handled =
            vec![message("1", vec![answer("{}")]), message("2", vec![answer("{\"a\":1}")]), message("3", Vec::new())];
        let user = UserId::new("ada").expect("an id");
        let session = SavedSession {
            key: SessionKey::of("", None),
            user,
            expires_in: Duration::ZERO,
            channels: Vec::new(),
            handled,
        };
        let bytes = write(&[SavedEndpoint { path: "/".into(), channels: Vec::new(), sessions: vec![session] }]);
        let saved = read(&mut &bytes[..], ReadLimits { answers: 8, ..LIMITS }).expect("it is whole");
        let left = |known: &HandledMessage| {
            (known.request_id.to_string(), known.answered.answers.len(), known.answered.is_forgotten)
        };
        let left: Vec<_> = saved.endpoints[0].sessions[0].handled.iter().map(left).collect();
        assert_eq!(left, [("1".into(), 1, false), ("2".into(), 0, true), ("3".into(), 0, false)]);
    }

    #[test]
    fn a_ghost_of_the_largest_size_is_read() {
        let json = Json::encode(&"x".repeat(MAX_GHOST)).expect("JSON");
        let assigns = Assigns::from_entries(vec![("a".into(), json)]).expect("one");
        let ghost = SavedGhost { user: UserId::new("ada").expect("an id"), left: 0, assigns, presence: None };
        let channel = SavedChannel {
            name: ChannelName::new("/a", 9).expect("a name"),
            lobby: "/:x".into(),
            ring: None,
            ghosts: vec![ghost],
        };
        let bytes = write(&[SavedEndpoint { path: "/".into(), channels: vec![channel], sessions: Vec::new() }]);
        assert!(read(&mut &bytes[..], ReadLimits { messages: 0, answers: 0 }).is_ok());
    }

    #[test]
    fn the_reason_of_a_refusal_is_told() {
        let fault = |bytes: &[u8]| read(&mut &*bytes, LIMITS).expect_err("refused").to_string();
        let whole = write(&[]);
        assert_eq!(fault(b""), "it is not a file of histories");
        assert_eq!(fault(b"root:x:0:0\n"), "it is not a file of histories");
        assert_eq!(fault(b"{\"histories\":{\"version\":3,\"written\":0}}\n"), "its version is 3, and not 1 to 2");
        assert_eq!(fault(&whole[..whole.len() - 9]), "it is incomplete");
        assert_eq!(fault(&[&whole[..], b"{}\n"].concat()), "it is damaged");
    }

    #[test]
    fn messages_over_the_limit_are_left_out_and_keep_their_positions() {
        let message = |text: &str| SavedMessage { text: text.into(), age: 0, except: None };
        let channel = |texts: &[&str]| SavedChannel {
            name: ChannelName::new("/a", 9).expect("a name"),
            lobby: "/:x".into(),
            ghosts: Vec::new(),
            ring: Some(SavedRing {
                before: Position { epoch: Epoch::new(1), offset: 10 },
                messages: texts.iter().map(|text| message(text)).collect(),
                removed_for: GapReason::Expired,
                stamp: None,
                removed: Vec::new(),
                unused_for: 0,
                lingers_for: 0,
            }),
        };
        let channels = vec![channel(&["{\"a\":1}", "{}"]), channel(&["{}", "{\"a\":1}", "{}"])];
        let bytes = write(&[SavedEndpoint { path: "/".into(), channels, sessions: Vec::new() }]);
        let saved = read(&mut &bytes[..], ReadLimits { messages: 14, ..LIMITS }).expect("it is whole");
        let left = |at: usize| {
            let ring = saved.endpoints[0].channels[at].ring.as_ref().expect("a history");
            (ring.before.offset, ring.messages.len(), ring.removed_for)
        };
        assert_eq!((left(0), left(1)), ((10, 2, GapReason::Expired), (12, 1, GapReason::Trimmed)));
    }
}
