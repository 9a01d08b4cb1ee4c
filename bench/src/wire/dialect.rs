//! The protocols of the servers that are compared: the text of requests, and the meaning of messages from the server.

use memchr::memmem;

use super::client::{self, message_id};

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

/// The meaning of a message from the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerMessage {
    /// The client may join channels now.
    Welcome,
    /// A channel was joined.
    Joined,
    /// A message made by [`Dialect::publish`] or [`Dialect::echo`]: its publisher, and its number.
    Message(usize, u64),
    /// A message that requires this answer.
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

    /// The first message of a client, if it sends before the server does.
    pub fn greeting(self) -> Option<&'static str> {
        (self == Dialect::Centrifuge).then_some(r#"{"id":1,"connect":{}}"#)
    }

    /// Returns `true` if a client may join channels as soon as its connection is open.
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

    /// A message to all members of a channel but its publisher, with this payload. Centrifuge delivers to subscribers, which
    /// the publishing clients of our loads are not.
    pub fn publish_to_others(self, channel: &str, n: u64, payload: &str) -> String {
        match self {
            Dialect::Pond => client::broadcast_text(channel, "typing", n, payload),
            Dialect::SocketIo | Dialect::Centrifuge => self.publish(channel, n, payload),
        }
    }

    /// The topic of a channel in Redis.
    pub fn topic(self, channel: &str) -> String {
        match self {
            Dialect::Pond => format!("pondsocket:v1:default:api/socket:{channel}"),
            Dialect::SocketIo => channel.to_owned(),
            Dialect::Centrifuge => format!("centrifuge.client.{channel}"),
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
    pub fn parse(self, text: &[u8], mut each: impl FnMut(ServerMessage)) {
        match self {
            Dialect::Pond => each(pond(text)),
            Dialect::SocketIo => each(socket_io(text)),
            Dialect::Centrifuge => text.split(|byte| *byte == b'\n').map(centrifuge).for_each(each),
        }
    }
}

fn pond(text: &[u8]) -> ServerMessage {
    match message_id(text) {
        Some((publisher, n)) => ServerMessage::Message(publisher, n),
        None if memmem::find(text, br#""ACKNOWLEDGE""#).is_some() => ServerMessage::Joined,
        None => ServerMessage::Other,
    }
}

fn socket_io(text: &[u8]) -> ServerMessage {
    match text {
        [b'0', ..] => ServerMessage::Answer("40"),
        [b'2'] => ServerMessage::Answer("3"),
        [b'4', b'0', ..] => ServerMessage::Welcome,
        [b'4', b'3', ..] => ServerMessage::Joined,
        _ => message_id(text).map_or(ServerMessage::Other, |(publisher, n)| ServerMessage::Message(publisher, n)),
    }
}

fn centrifuge(line: &[u8]) -> ServerMessage {
    let is = |key: &[u8]| memmem::find(&line[..line.len().min(40)], key).is_some();
    match message_id(line) {
        Some((publisher, n)) => ServerMessage::Message(publisher, n),
        None if line == b"{}" => ServerMessage::Answer("{}"),
        None if is(br#""connect":"#) => ServerMessage::Welcome,
        None if is(br#""subscribe":"#) => ServerMessage::Joined,
        None => ServerMessage::Other,
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

    fn heard(dialect: Dialect, text: &str) -> Vec<ServerMessage> {
        let mut all = Vec::new();
        dialect.parse(text.as_bytes(), |heard| all.push(heard));
        all
    }

    #[test]
    fn what_a_client_publishes_is_recognised_when_it_comes_back() {
        let payload = client::payload(7, 12, 60);
        assert_eq!(
            heard(Dialect::Pond, &Dialect::Pond.publish("/plain/a", 12, &payload)),
            [ServerMessage::Message(7, 12)]
        );
        assert_eq!(heard(Dialect::SocketIo, &format!(r#"42["message",{payload}]"#)), [ServerMessage::Message(7, 12)]);
    }

    #[test]
    fn a_frame_of_centrifuge_holds_several_messages() {
        let text = concat!(
            r#"{"push":{"channel":"a","pub":{"data":{"by":1,"n":2,"pad":""}}}}"#,
            "\n{}\n",
            r#"{"id":2,"subscribe":{}}"#
        );
        assert_eq!(
            heard(Dialect::Centrifuge, text),
            [ServerMessage::Message(1, 2), ServerMessage::Answer("{}"), ServerMessage::Joined]
        );
    }

    #[test]
    fn socket_io_is_greeted_and_its_pings_are_answered() {
        let sense = |text| heard(Dialect::SocketIo, text)[0];
        assert_eq!([sense(r#"0{"sid":"a"}"#), sense("2")], [ServerMessage::Answer("40"), ServerMessage::Answer("3")]);
        assert_eq!([sense(r#"40{"sid":"b"}"#), sense("430[]")], [ServerMessage::Welcome, ServerMessage::Joined]);
    }
}
