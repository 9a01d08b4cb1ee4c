//! The messages that a client has received, sorted by channel: plain data, without a socket or a clock.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use super::received::Received;

/// The most unread messages of a mailbox. A test that leaves more unread fails, instead of filling the memory.
const MAX_UNREAD: usize = 65_536;

/// The number of frames in a failure's text, and the number of bytes of each.
const RECENT_FRAMES: usize = 16;
const RECENT_FRAME_BYTES: usize = 400;

/// The received messages of one client. The reading task sorts each frame as it arrives: an answer to its request, any other
/// message into all mailboxes of its channel. So concurrent waits do not take messages from each other.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    mailboxes: HashMap<u64, Mailbox>,
    requests: HashMap<String, PendingRequest>,
    next_mailbox: u64,
    recent: RecentFrames,
    end: Option<End>,
}

/// The unread messages of one channel. A channel may have several mailboxes: each gets every message.
#[derive(Debug)]
struct Mailbox {
    channel: String,
    open: bool,
    messages: VecDeque<Received>,
}

/// A request whose answer is awaited.
#[derive(Debug)]
struct PendingRequest {
    /// The mailbox that opens with the acknowledgement, if the request is a join.
    opens: Option<u64>,
    answer: Option<Received>,
}

/// The end of a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Closed {
    /// The code of the server's close frame; `None` if there was no close frame.
    pub code: Option<u16>,
    /// The reason in the close frame; empty if there was none.
    pub reason: String,
}

/// The reason for which the client receives no more messages.
#[derive(Clone, Debug)]
pub(super) enum End {
    Closed(Closed),
    /// The server broke the protocol, or the test left too many messages unread.
    Fault(String),
}

/// The number of received frames and the last of them, for the text of a failure.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentFrames {
    received: u64,
    last: VecDeque<String>,
}

impl Inbox {
    /// Opens a mailbox for the messages of a channel from now on.
    pub(super) fn open(&mut self, channel: &str) -> u64 {
        self.add(channel, true)
    }

    /// Adds a mailbox for the messages of a channel that follow the acknowledgement of this join.
    pub(super) fn open_once_joined(&mut self, channel: &str, request_id: &str) -> u64 {
        let mailbox = self.add(channel, false);
        self.requests.insert(request_id.to_owned(), PendingRequest { opens: Some(mailbox), answer: None });
        mailbox
    }

    fn add(&mut self, channel: &str, open: bool) -> u64 {
        self.next_mailbox += 1;
        let mailbox = Mailbox { channel: channel.to_owned(), open, messages: VecDeque::new() };
        self.mailboxes.insert(self.next_mailbox, mailbox);
        self.next_mailbox
    }

    pub(super) fn close(&mut self, mailbox: u64) {
        self.mailboxes.remove(&mailbox);
    }

    /// Keeps the answer to this request for [`answer`](Self::answer).
    pub(super) fn expect_answer(&mut self, request_id: &str) {
        self.requests.insert(request_id.to_owned(), PendingRequest { opens: None, answer: None });
    }

    /// Stops keeping the answer to this request: a late one is sorted as any other message.
    pub(super) fn forget(&mut self, request_id: &str) {
        self.requests.remove(request_id);
    }

    /// Takes the answer to a request, if it has been received.
    pub(super) fn answer(&mut self, request_id: &str) -> Option<Received> {
        self.requests.get_mut(request_id)?.answer.take()
    }

    /// Takes the first unread message that matches; those before it stay unread.
    pub(super) fn take(&mut self, mailbox: u64, matches: impl Fn(&Received) -> bool) -> Option<Received> {
        let messages = &mut self.mailboxes.get_mut(&mailbox)?.messages;
        let at = messages.iter().position(matches)?;
        messages.remove(at)
    }

    /// Sorts a frame. One that a client would reject ends the connection.
    pub(super) fn receive(&mut self, text: &str) {
        self.recent.note(text);
        match Received::parse(text) {
            Ok(message) => self.sort(message),
            Err(fault) => self.end(End::Fault(format!("a client would reject the last message: {fault}"))),
        }
    }

    fn sort(&mut self, message: Received) {
        if let Some(request) = self.requests.get_mut(&message.request_id)
            && request.answer.is_none()
        {
            // A join that no pattern matches has two answers, of which the second is the decline (docs/protocol.md, Declining).
            if request.opens.is_some() && message.is_system("NOT_FOUND") {
                return;
            }
            let opened = request.opens.filter(|_| message.is_system("ACKNOWLEDGE"));
            request.answer = Some(message);
            if let Some(mailbox) = opened.and_then(|mailbox| self.mailboxes.get_mut(&mailbox)) {
                mailbox.open = true;
            }
            return;
        }
        // Each mailbox gets a copy, so that two handles of one channel do not take messages from each other.
        let is_receiver = |mailbox: &&mut Mailbox| mailbox.open && mailbox.channel == message.channel;
        // Noted and reported after the loop, because ending the connection needs the whole inbox.
        let mut full = false;
        for mailbox in self.mailboxes.values_mut().filter(is_receiver) {
            mailbox.messages.push_back(message.clone());
            full |= mailbox.messages.len() > MAX_UNREAD;
        }
        if full {
            self.end(End::Fault(format!("more than {MAX_UNREAD} messages of `{}` are unread", message.channel)));
        }
    }

    /// Records the end of the connection. Of several reasons the first one stays.
    pub(super) fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    pub(super) fn ended(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(super) fn recent(&self) -> RecentFrames {
        self.recent.clone()
    }
}

impl RecentFrames {
    fn note(&mut self, text: &str) {
        self.received += 1;
        if self.last.len() == RECENT_FRAMES {
            self.last.pop_front();
        }
        let shown = match text.char_indices().find(|(at, character)| at + character.len_utf8() > RECENT_FRAME_BYTES) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        self.last.push_back(shown);
    }
}

impl fmt::Display for RecentFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.received == 0 {
            return f.write_str("  no message was received");
        }
        write!(f, "  the last of {} messages received:", self.received)?;
        self.last.iter().try_for_each(|text| write!(f, "\n    {text}"))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Fault(fault) => f.write_str(fault),
            End::Closed(Closed { code: None, .. }) => f.write_str("the connection ended without a close frame"),
            End::Closed(Closed { code: Some(code), reason }) => write!(f, "the server closed with {code} `{reason}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn receive(inbox: &mut Inbox, action: &str, event: &str, channel: &str, id: &str) {
        let text = json!({
            "action": action, "event": event, "channelName": channel, "requestId": id, "payload": {},
        });
        inbox.receive(&text.to_string());
    }

    fn unread(inbox: &mut Inbox, mailbox: u64) -> Vec<String> {
        std::iter::from_fn(|| inbox.take(mailbox, |_| true)).map(|message| message.event).collect()
    }

    #[test]
    fn a_mailbox_has_the_messages_of_its_channel_from_the_acknowledgement_on() {
        let mut inbox = Inbox::default();
        let first = inbox.open("/a");
        let second = inbox.open_once_joined("/a", "q1");
        let other = inbox.open("/b");
        receive(&mut inbox, "BROADCAST", "before", "/a", "x");
        receive(&mut inbox, "SYSTEM", "ACKNOWLEDGE", "/a", "q1");
        receive(&mut inbox, "BROADCAST", "after", "/a", "y");
        assert_eq!(inbox.answer("q1").map(|answer| answer.event).as_deref(), Some("ACKNOWLEDGE"));
        assert_eq!(unread(&mut inbox, first), ["before", "after"]);
        assert_eq!(unread(&mut inbox, second), ["after"]);
        assert!(unread(&mut inbox, other).is_empty());
    }

    #[test]
    fn a_join_without_a_matching_pattern_is_answered_by_the_decline() {
        let mut inbox = Inbox::default();
        let room = inbox.open_once_joined("/x", "q1");
        receive(&mut inbox, "SYSTEM", "NOT_FOUND", "/x", "q1");
        assert!(inbox.answer("q1").is_none());
        receive(&mut inbox, "SYSTEM", "UNAUTHORIZED", "/x", "q1");
        assert!(inbox.answer("q1").is_some_and(|answer| answer.is_error()));
        receive(&mut inbox, "BROADCAST", "later", "/x", "x");
        assert!(unread(&mut inbox, room).is_empty());
    }

    #[test]
    fn an_answer_that_is_not_awaited_is_a_message() {
        let mut inbox = Inbox::default();
        let room = inbox.open("/a");
        inbox.expect_answer("q1");
        inbox.expect_answer("q2");
        inbox.forget("q2");
        receive(&mut inbox, "SYSTEM", "awaited", "/a", "q1");
        receive(&mut inbox, "SYSTEM", "late", "/a", "q2");
        receive(&mut inbox, "SYSTEM", "twice", "/a", "q1");
        assert_eq!(unread(&mut inbox, room), ["late", "twice"]);
    }

    #[test]
    fn messages_before_the_awaited_one_stay_unread_in_order() {
        let mut inbox = Inbox::default();
        let room = inbox.open("/a");
        for event in ["one", "two", "three"] {
            receive(&mut inbox, "BROADCAST", event, "/a", event);
        }
        assert!(inbox.take(room, |message| message.event == "two").is_some());
        assert_eq!(unread(&mut inbox, room), ["one", "three"]);
    }

    #[test]
    fn a_frame_that_a_client_would_reject_ends_the_connection() {
        let mut inbox = Inbox::default();
        receive(&mut inbox, "HELLO", "x", "/a", "q");
        receive(&mut inbox, "HELLO", "y", "/a", "q");
        let end = inbox.ended().expect("a fault").to_string();
        assert_eq!(end, "a client would reject the last message: the action `HELLO`");
    }

    #[test]
    fn too_many_unread_messages_are_a_failure() {
        let mut inbox = Inbox::default();
        inbox.open("/a");
        (0..=MAX_UNREAD).for_each(|_| receive(&mut inbox, "BROADCAST", "flood", "/a", "x"));
        assert!(matches!(inbox.ended(), Some(End::Fault(fault)) if fault.contains("unread")));
    }

    #[test]
    fn a_failure_shows_the_last_frames_and_truncates_long_ones() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.recent().to_string(), "  no message was received");
        (0..RECENT_FRAMES).for_each(|at| receive(&mut inbox, "BROADCAST", &format!("number{at}"), "/a", "x"));
        receive(&mut inbox, "BROADCAST", &"ä".repeat(500), "/a", "x");
        let shown = inbox.recent().to_string();
        assert!(shown.starts_with("  the last of 17 messages received:\n"), "{shown}");
        assert!(!shown.contains("number0") && shown.contains("number1\"") && shown.ends_with("ä…"), "{shown}");
    }
}
