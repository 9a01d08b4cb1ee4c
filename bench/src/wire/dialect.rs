//! The protocols of the servers that are compared: the text of what a client says, and the sense of what it hears.

use memchr::memmem;

use super::client::{self, mark};

/// The protocol of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// PondSocket's envelope.
    Pond,
    /// Socket.IO 4 over a WebSocket: packets of Engine.IO.
    SocketIo,
    /// The JSON protocol of Centrifuge.
    Centrifuge,
}

/// The sense of a message from the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// The client may join channels now.
    Welcome,
    /// A channel was joined.
    Joined,
    /// A message made by [`Dialect::publish`] or [`Dialect::echo`]: its publisher, and its number.
    Message(usize, u64),
    /// Something that has to be answered with this.
    Answer(&'static str),
    /// Anything else.
    Other,
}

impl Dialect {
    /// The path and the query at which clients open a WebSocket.
    pub fn path(self) -> &'static str {
        match self {
            Dialect::Pond => "/api/socket?token=t",
            Dialect::SocketIo => "/socket.io/?EIO=4&transport=websocket",
            Dialect::Centrifuge => "/connection/websocket",
        }
    }

    /// The path and the query at which clients open an event stream; some name their channel there.
    pub fn stream_path(self, channel: &str) -> String {
        match self {
            Dialect::Centrifuge => {
                let connect = format!(r#"{{"id":1,"connect":{{"data":{{"channel":"{channel}"}}}}}}"#);
                format!("/connection/sse?cf_connect={}", percent_encoded(&connect))
            }
            Dialect::Pond | Dialect::SocketIo => self.path().to_owned(),
        }
    }

    /// The first thing that a client says, if it speaks first.
    pub fn greeting(self) -> Option<&'static str> {
        (self == Dialect::Centrifuge).then_some(r#"{"id":1,"connect":{}}"#)
    }

    /// A client may join channels as soon as its connection is open.
    pub fn joins_at_once(self) -> bool {
        self == Dialect::Pond
    }

    /// A request to join a channel.
    pub fn join(self, channel: &str, user: usize) -> String {
        match self {
            Dialect::Pond => client::join_text(channel, user),
            Dialect::SocketIo => format!(r#"42{user}["join","{channel}"]"#),
            Dialect::Centrifuge => format!(r#"{{"id":{},"subscribe":{{"channel":"{channel}"}}}}"#, user + 2),
        }
    }

    /// A message to all members of a channel, with this payload.
    pub fn publish(self, channel: &str, n: u64, payload: &str) -> String {
        match self {
            Dialect::Pond => client::broadcast_text(channel, "message", n, payload),
            Dialect::SocketIo => format!(r#"42["message","{channel}",{payload}]"#),
            Dialect::Centrifuge => {
                format!(r#"{{"id":{},"publish":{{"channel":"{channel}","data":{payload}}}}}"#, n + 100_000)
            }
        }
    }

    /// A message that the server sends back to its sender, with this payload.
    pub fn echo(self, channel: &str, n: u64, payload: &str) -> String {
        match self {
            Dialect::Pond => client::broadcast_text(channel, "echo", n, payload),
            Dialect::SocketIo => format!(r#"42["echo",{payload}]"#),
            Dialect::Centrifuge => format!(r#"{{"id":{},"rpc":{{"method":"echo","data":{payload}}}}}"#, n + 100_000),
        }
    }

    /// Calls `each` for every message in a text of the server, in order. Centrifuge puts several into one frame.
    pub fn hear(self, text: &[u8], mut each: impl FnMut(Heard)) {
        match self {
            Dialect::Pond => each(pond(text)),
            Dialect::SocketIo => each(socket_io(text)),
            Dialect::Centrifuge => text.split(|byte| *byte == b'\n').map(centrifuge).for_each(each),
        }
    }
}

fn pond(text: &[u8]) -> Heard {
    match mark(text) {
        Some((publisher, n)) => Heard::Message(publisher, n),
        None if memmem::find(text, br#""ACKNOWLEDGE""#).is_some() => Heard::Joined,
        None => Heard::Other,
    }
}

fn socket_io(text: &[u8]) -> Heard {
    match text {
        [b'0', ..] => Heard::Answer("40"),
        [b'2'] => Heard::Answer("3"),
        [b'4', b'0', ..] => Heard::Welcome,
        [b'4', b'3', ..] => Heard::Joined,
        _ => mark(text).map_or(Heard::Other, |(publisher, n)| Heard::Message(publisher, n)),
    }
}

fn centrifuge(line: &[u8]) -> Heard {
    let is = |key: &[u8]| memmem::find(&line[..line.len().min(40)], key).is_some();
    match mark(line) {
        Some((publisher, n)) => Heard::Message(publisher, n),
        None if line == b"{}" => Heard::Answer("{}"),
        None if is(br#""connect":"#) => Heard::Welcome,
        None if is(br#""subscribe":"#) => Heard::Joined,
        None => Heard::Other,
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(dialect: Dialect, text: &str) -> Vec<Heard> {
        let mut all = Vec::new();
        dialect.hear(text.as_bytes(), |heard| all.push(heard));
        all
    }

    #[test]
    fn what_a_client_publishes_is_recognised_when_it_comes_back() {
        let payload = client::payload(7, 12, 60);
        assert_eq!(heard(Dialect::Pond, &Dialect::Pond.publish("/plain/a", 12, &payload)), [Heard::Message(7, 12)]);
        assert_eq!(heard(Dialect::SocketIo, &format!(r#"42["message",{payload}]"#)), [Heard::Message(7, 12)]);
    }

    #[test]
    fn a_frame_of_centrifuge_holds_several_messages() {
        let text = concat!(
            r#"{"push":{"channel":"a","pub":{"data":{"p":1,"n":2,"pad":""}}}}"#,
            "\n{}\n",
            r#"{"id":2,"subscribe":{}}"#
        );
        assert_eq!(heard(Dialect::Centrifuge, text), [Heard::Message(1, 2), Heard::Answer("{}"), Heard::Joined]);
    }

    #[test]
    fn socket_io_is_greeted_and_its_pings_are_answered() {
        let sense = |text| heard(Dialect::SocketIo, text)[0];
        assert_eq!([sense(r#"0{"sid":"a"}"#), sense("2")], [Heard::Answer("40"), Heard::Answer("3")]);
        assert_eq!([sense(r#"40{"sid":"b"}"#), sense("430[]")], [Heard::Welcome, Heard::Joined]);
    }
}
