//! The format of the file in which histories and sessions outlive a server, as bytes without I/O of its own.
//!
//! The file is text: a line of JSON for each record. Messages stand as they were sent, and so belong to the record of the
//! channel above them, as channels and sessions belong to the endpoint above them. The last record has the SHA-256 of all
//! lines above it; a file that does not end with it is incomplete.
//!
//! ```text
//! {"histories":{"version":1,"written":1764446400000}}
//! {"endpoint":{"path":"/api/socket"}}
//! {"channel":{"name":"/chat/1","lobby":"/chat/:room","before":"7kq2fw.1041","gap":"trimmed","unused":20,"lingers":0}}
//! {"message":{"age":20,"text":{"action":"BROADCAST","event":"said","requestId":"7kq2fw.1042",..}}}
//! {"session":{"key":"0f..","user":"ada","expires":119000,"channels":[["/chat/1","7kq2fw.1041",1042]]}}
//! {"end":{"sha256":"9b.."}}
//! ```

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pondsocket_proto::channel::{GapReason, Progress, SavedMessage, SavedRing};
use pondsocket_proto::id::{ChannelName, UserId};
use pondsocket_proto::position::Position;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::engine::sessions::{SavedSession, SessionKey};

/// The version of the format. A server reads no other.
const VERSION: u32 = 1;

/// The most bytes of a line beyond the messages that it may hold: a session has many names of channels.
const MOST_LINE: usize = 4 * 1024 * 1024;

/// The histories and sessions of one endpoint.
#[derive(Debug)]
pub(crate) struct SavedEndpoint {
    /// The pattern of its path.
    pub(crate) path: Box<str>,
    pub(crate) channels: Vec<SavedChannel>,
    pub(crate) sessions: Vec<SavedSession>,
}

/// The history of one channel.
#[derive(Debug)]
pub(crate) struct SavedChannel {
    pub(crate) name: ChannelName,
    /// The pattern of its lobby.
    pub(crate) lobby: Box<str>,
    pub(crate) ring: SavedRing,
}

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

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Record<'a> {
    Histories {
        version: u32,
        /// The wall-clock time, in milliseconds since 1970.
        written: u64,
    },
    Endpoint {
        #[serde(borrow)]
        path: Cow<'a, str>,
    },
    Channel {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow)]
        lobby: Cow<'a, str>,
        before: Position,
        #[serde(borrow)]
        gap: Cow<'a, str>,
        #[serde(borrow, skip_serializing_if = "Option::is_none")]
        stamp: Option<Cow<'a, str>>,
        /// The users that were removed, and the offsets as of then.
        #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
        removed: Vec<(Cow<'a, str>, u64)>,
        unused: u64,
        lingers: u64,
    },
    Message {
        age: u64,
        #[serde(borrow, skip_serializing_if = "Option::is_none")]
        except: Option<Cow<'a, str>>,
        #[serde(borrow)]
        text: &'a RawValue,
    },
    Session {
        #[serde(borrow)]
        key: Cow<'a, str>,
        #[serde(borrow)]
        user: Cow<'a, str>,
        expires: u64,
        /// The names, what is proven in each, and the offset that was sent.
        #[serde(borrow)]
        channels: Vec<(Cow<'a, str>, Position, u64)>,
    },
    End {
        #[serde(borrow)]
        sha256: Cow<'a, str>,
    },
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
    pub(crate) sessions: usize,
    pub(crate) bytes: u64,
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

    pub(crate) fn channel(&mut self, SavedChannel { name, lobby, ring }: &SavedChannel) -> io::Result<()> {
        self.write(&Record::Channel {
            name: name.as_str().into(),
            lobby: (&**lobby).into(),
            before: ring.before,
            gap: ring.removed_for.as_str().into(),
            stamp: ring.stamp.as_deref().map(Cow::Borrowed),
            removed: ring.removed.iter().map(|(user, at)| (user.as_str().into(), *at)).collect(),
            unused: ring.unused_for,
            lingers: ring.lingers_for,
        })?;
        for SavedMessage { text, age, except } in &ring.messages {
            let except = except.as_ref().map(|user| Cow::Borrowed(user.as_str()));
            self.write(&Record::Message { age: *age, except, text: serde_json::from_str(text)? })?;
        }
        self.written.channels += 1;
        self.written.messages += ring.messages.len();
        Ok(())
    }

    pub(crate) fn session(&mut self, session: &SavedSession) -> io::Result<()> {
        let SavedSession { key, user, expires_in, channels } = session;
        let channel = |(name, progress): &'_ (ChannelName, Progress)| {
            let Progress { epoch, proven, sent } = *progress;
            (Cow::Owned(name.as_str().to_owned()), Position { epoch, offset: proven }, sent)
        };
        self.written.sessions += 1;
        self.write(&Record::Session {
            key: key.to_string().into(),
            user: user.as_str().into(),
            expires: millis(*expires_in),
            channels: channels.iter().map(channel).collect(),
        })
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

/// Reads a whole file. Of the messages it keeps at most so many bytes: the channels behind them have their positions and no
/// messages, as if they had been emptied for others.
pub(crate) fn read(input: &mut dyn BufRead, most: usize) -> Result<Saved, FileError> {
    let (mut hash, mut line, mut left) = (Sha256::new(), Vec::new(), most);
    let mut saved: Option<Saved> = None;
    loop {
        line.clear();
        // A line that is longer than any that was written is not read to its end.
        let longest = most.saturating_add(MOST_LINE) as u64;
        (&mut *input).take(longest).read_until(b'\n', &mut line).map_err(FileError::Io)?;
        let is_whole = line.ends_with(b"\n");
        let record = match serde_json::from_slice(&line) {
            Ok(record) if is_whole => record,
            _ if saved.is_none() => return Err(FileError::Foreign),
            _ if !is_whole => return Err(FileError::Incomplete),
            _ => return Err(FileError::Damaged),
        };
        match (record, &mut saved) {
            (Record::Histories { version: VERSION, written }, None) => {
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
    /// Adds a record to what stands above it. `None` if it cannot stand there.
    fn add(&mut self, record: Record<'_>, left: &mut usize) -> Option<()> {
        if let Record::Endpoint { path } = record {
            self.endpoints.push(SavedEndpoint { path: path.into(), channels: Vec::new(), sessions: Vec::new() });
            return Some(());
        }
        let SavedEndpoint { channels, sessions, .. } = self.endpoints.last_mut()?;
        match record {
            Record::Channel { name, lobby, before, gap, stamp, removed, unused, lingers } => {
                channels.push(SavedChannel {
                    name: ChannelName::new(&name, usize::MAX).ok()?,
                    lobby: lobby.into(),
                    ring: SavedRing {
                        before,
                        messages: Vec::new(),
                        removed_for: [GapReason::Trimmed, GapReason::Expired]
                            .into_iter()
                            .find(|it| it.as_str() == gap)?,
                        stamp: stamp.map(Into::into),
                        removed: {
                            let removed = removed.into_iter().map(|(user, at)| Some((UserId::new(&user).ok()?, at)));
                            removed.collect::<Option<_>>()?
                        },
                        unused_for: unused,
                        lingers_for: lingers,
                    },
                })
            }
            Record::Message { age, except, text } => {
                let ring = &mut channels.last_mut()?.ring;
                let except = except.map(|user| UserId::new(&user)).transpose().ok()?;
                ring.messages.push(SavedMessage { text: text.get().into(), age, except });
                match left.checked_sub(text.get().len()) {
                    Some(rest) => *left = rest,
                    None => {
                        ring.before.offset = ring.before.offset.checked_add(ring.messages.len() as u64)?;
                        (ring.messages, ring.removed_for) = (Vec::new(), GapReason::Trimmed);
                    }
                }
            }
            Record::Session { key, user, expires, channels } => {
                let channel = |(name, Position { epoch, offset }, sent): (Cow<'_, str>, _, _)| {
                    Some((ChannelName::new(&name, usize::MAX).ok()?, Progress { epoch, proven: offset, sent }))
                };
                sessions.push(SavedSession {
                    key: key.parse::<SessionKey>().ok()?,
                    user: UserId::new(&user).ok()?,
                    expires_in: Duration::from_millis(expires),
                    channels: channels.into_iter().map(channel).collect::<Option<_>>()?,
                });
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
            FileError::Version(version) => write!(f, "its version is {version}, and not {VERSION}"),
            FileError::Incomplete => f.write_str("it is incomplete"),
            FileError::Damaged => f.write_str("it is damaged"),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use pondsocket_proto::position::Epoch;
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1 << 20;

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
        (name(), "/[a-z:]{1,9}", ring).prop_map(
            |(name, lobby, (before, messages, (trimmed, unused, lingers), stamp, removed))| {
                let ring = SavedRing {
                    before,
                    messages,
                    removed_for: if trimmed { GapReason::Trimmed } else { GapReason::Expired },
                    stamp: (!stamp.is_empty()).then(|| stamp.into()),
                    removed,
                    unused_for: unused,
                    lingers_for: lingers,
                };
                SavedChannel { name, lobby: lobby.into(), ring }
            },
        )
    }

    fn session() -> impl Strategy<Value = SavedSession> {
        let progress = (position(), any::<u64>()).prop_map(|(Position { epoch, offset }, sent)| Progress {
            epoch,
            proven: offset,
            sent,
        });
        (any::<u64>(), user(), any::<u32>(), prop::collection::vec((name(), progress), 0..4)).prop_map(
            |(key, user, expires, channels)| SavedSession {
                key: SessionKey::of(&key.to_string(), None),
                user,
                expires_in: Duration::from_millis(expires.into()),
                channels,
            },
        )
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
            let saved = read(&mut &bytes[..], MOST).expect("it is whole");
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
            prop_assert!(read(&mut &bytes[..at], MOST).is_err());
            bytes[at] ^= by;
            prop_assert!(read(&mut &bytes[..], MOST).is_err(), "byte {}", at);
        }

        /// Nothing that a file may contain does harm.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&mut &bytes[..], MOST).is_err());
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
                r#"{"session":{"key":"00","user":"a","expires":18446744073709551615,"channels":[]}}"#,
                r#"{"end":{"sha256":""}}"#,
                r#"{"histories":{"version":1,"written":18446744073709551615}}"#,
            ]), 0..6),
            most in 0..4usize,
        ) {
            let mut bytes = br#"{"histories":{"version":1,"written":0}}"#.to_vec();
            for record in records {
                bytes.extend([b"\n", record.as_bytes()].concat());
            }
            bytes.push(b'\n');
            let end = format!("{{\"end\":{{\"sha256\":\"{}\"}}}}\n", hex(&Sha256::digest(&bytes)));
            bytes.extend(end.bytes());
            let _ = read(&mut &bytes[..], most);
        }
    }

    #[test]
    fn the_reason_of_a_refusal_is_told() {
        let fault = |bytes: &[u8]| read(&mut &*bytes, MOST).expect_err("refused").to_string();
        let whole = write(&[]);
        assert_eq!(fault(b""), "it is not a file of histories");
        assert_eq!(fault(b"root:x:0:0\n"), "it is not a file of histories");
        assert_eq!(fault(b"{\"histories\":{\"version\":2,\"written\":0}}\n"), "its version is 2, and not 1");
        assert_eq!(fault(&whole[..whole.len() - 9]), "it is incomplete");
        assert_eq!(fault(&[&whole[..], b"{}\n"].concat()), "it is damaged");
    }

    #[test]
    fn messages_over_the_limit_are_left_out_and_keep_their_positions() {
        let message = |text: &str| SavedMessage { text: text.into(), age: 0, except: None };
        let channel = |texts: &[&str]| SavedChannel {
            name: ChannelName::new("/a", 9).expect("a name"),
            lobby: "/:x".into(),
            ring: SavedRing {
                before: Position { epoch: Epoch::new(1), offset: 10 },
                messages: texts.iter().map(|text| message(text)).collect(),
                removed_for: GapReason::Expired,
                stamp: None,
                removed: Vec::new(),
                unused_for: 0,
                lingers_for: 0,
            },
        };
        let channels = vec![channel(&["{\"a\":1}", "{}"]), channel(&["{}", "{\"a\":1}", "{}"])];
        let bytes = write(&[SavedEndpoint { path: "/".into(), channels, sessions: Vec::new() }]);
        let saved = read(&mut &bytes[..], 14).expect("it is whole");
        let left = |at: usize| {
            let ring = &saved.endpoints[0].channels[at].ring;
            (ring.before.offset, ring.messages.len(), ring.removed_for)
        };
        assert_eq!((left(0), left(1)), ((10, 2, GapReason::Expired), (12, 1, GapReason::Trimmed)));
    }
}
