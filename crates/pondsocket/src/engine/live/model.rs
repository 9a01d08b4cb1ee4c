//! Models of the hand-off, run by loom: every interleaving of a few threads at the locks that the server takes.
//! They are compiled in the package `models`: `cargo test -p models`.

use std::pin::pin;
use std::sync::Mutex as Record;

use bytes::Bytes;
use loom::sync::atomic::AtomicBool;
use loom::thread;
use pondsocket_proto::channel::{HistoryGap, HistoryRules, Join, Listener, LocalTarget, Run};
use pondsocket_proto::id::UserId;
use tokio::time::Instant;

use super::*;
use crate::engine::framing::Framing;
use crate::engine::outbox::RoomWait;

/// In a model, deliveries run at once, in the thread that starts them.
#[derive(Clone, Debug)]
pub(super) struct Home;

impl Home {
    pub(super) fn try_current() -> Result<Home, ()> {
        Ok(Home)
    }

    pub(super) fn spawn(&self, delivery: impl Future<Output = ()>) -> Done {
        let mut delivery = pin!(delivery);
        while delivery.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
        Done
    }
}

/// A stand-in for the handle of a task.
pub(super) struct Done;

/// A member that records the events that it receives.
#[derive(Clone, Debug)]
struct Member(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: u128,
    busy: AtomicBool,
    got: Record<Vec<String>>,
}

/// The events that models look for.
const WORDS: [&str; 7] = ["ACKNOWLEDGE", "news-1", "news-2", "news-3", "EVICTED", "EXIT", "FLUSH_MARKER"];

/// A lobby without rules, or with an outgoing handler that lets all pass.
#[derive(Debug, Default)]
struct ModelLobby {
    filters: bool,
    /// The time for which messages are kept, in milliseconds; `None` if none are.
    ttl: Option<u64>,
}

impl Rules for ModelLobby {
    type Recipient = Member;

    fn history(&self) -> Option<Arc<HistoryRules>> {
        let (messages, bytes, replay_messages, replay_bytes) = (9, 9999, 9, 9999);
        let rules = |ttl| HistoryRules {
            messages,
            bytes,
            ttl,
            replay_messages,
            replay_bytes,
            stamp: None,
            replies_overtake: false,
        };
        self.ttl.map(|ttl| Arc::new(rules(ttl)))
    }

    fn presence_grace(&self) -> u64 {
        0
    }

    fn delivery_policy(&self, _: &str) -> DeliveryPolicy {
        DeliveryPolicy { filtered: self.filters, ..DeliveryPolicy::BROADCAST }
    }

    fn filter<'a>(&'a self, _: &'a [u8]) -> Box<dyn OutgoingFilter<Member> + 'a> {
        Box::new(Open)
    }

    fn opened(&self, _: &str) {}
    fn closed(&self, _: &str) {}
    fn history_emptied(&self, _: &str, _: usize) {}
    fn took(&self, _: usize) {}
}

struct Open;

impl OutgoingFilter<Member> for Open {
    fn decide(&mut self, _: &Member, _: &Listener) -> FilterDecision {
        FilterDecision::Pass
    }
}

fn lobby() -> Arc<ModelLobby> {
    Arc::new(ModelLobby::default())
}

impl Member {
    fn new(number: u128) -> Member {
        Member(Arc::new(Inner { number, busy: AtomicBool::new(false), got: Record::default() }))
    }

    fn got(&self) -> Vec<String> {
        self.0.got.lock().expect("no panic").clone()
    }

    fn take(&self, bytes: &[u8]) {
        assert!(!self.0.busy.swap(true, Ordering::SeqCst), "two deliveries at once");
        let text = String::from_utf8_lossy(bytes);
        let mut found: Vec<_> = WORDS.iter().flat_map(|word| text.match_indices(word)).collect();
        found.sort_unstable();
        self.0.got.lock().expect("no panic").extend(found.iter().map(|(_, word)| (*word).to_owned()));
        self.0.busy.store(false, Ordering::SeqCst);
    }
}

impl Recipient for Member {
    fn framing(&self) -> Framing {
        Framing::Plain
    }

    fn connection(&self) -> ConnectionId {
        ConnectionId::from_u128(self.0.number)
    }

    fn deliver(&self, _: Source<'_>, _: Option<Position>, runs: &[Run<Bytes>]) -> Reached {
        let bytes: Vec<u8> = runs.iter().flat_map(|run| run.bytes().iter().copied()).collect();
        self.take(&bytes);
        Reached::Done
    }

    fn wait(&self, _: &Waker, _: Instant) -> RoomWait {
        RoomWait::Room
    }

    fn lose(&self, _: Source<'_>, _: HistoryGap) {}

    fn reach(&self, _: Position) {}

    fn send(&self, text: &[u8]) -> impl FnOnce() {
        self.take(text);
        || {}
    }

    fn expect_flush_marker(&self) {}

    fn receive_flush_marker(&self) {
        self.take(b"FLUSH_MARKER");
    }
}

type LiveRoom = Arc<LiveChannel<ModelLobby>>;

fn name() -> ChannelName {
    ChannelName::new("/room", 512).expect("a valid name")
}

/// Seats a member.
fn seat(channel: &mut Channel<Member>, member: &Member) -> Slot {
    let user = UserId::new(&format!("user-{}", member.0.number)).expect("a valid id");
    let broadcast = |_: &str| DeliveryPolicy::BROADCAST;
    channel.join(Join::new(member.clone(), member.connection(), &user, "q"), &broadcast).slot
}

/// A channel with two members that have received their acknowledgements.
fn room() -> (LiveRoom, [Member; 2]) {
    room_of(ModelLobby::default())
}

fn room_of(lobby: ModelLobby) -> (LiveRoom, [Member; 2]) {
    let room = LiveChannel::new(
        name(),
        Arc::new(lobby),
        (ChannelLimits::default(), Pacing::default(), &Arc::default(), &Arc::default()),
        None,
        Weak::new(),
    );
    let members = [Member::new(1), Member::new(2)];
    for member in &members {
        let seated = room.change(AtOnce, |channel| seat(channel, member));
        assert!(seated.is_ok());
        assert_eq!(member.got(), ["ACKNOWLEDGE"]);
    }
    (room, members)
}

fn publish(room: &LiveRoom, text: &str) {
    publish_by(room, AtOnce, text);
}

fn publish_by(room: &LiveRoom, flusher: impl Flusher<ModelLobby>, text: &str) {
    let policy = room.delivery_policy(text);
    let sent = room.change(flusher, |channel| channel.broadcast(&LocalTarget::All, text.as_bytes(), policy));
    assert!(matches!(sent, Ok(Ok(2))));
}

/// The queue is empty, and no task holds the token.
fn assert_quiet(room: &LiveRoom) {
    assert!(room.core.lock().is_quiet(), "something is stranded");
}

#[test]
fn messages_of_two_publishers_are_delivered_once_in_one_order() {
    loom::model(|| {
        let (room, members) = room();
        let other = Arc::clone(&room);
        let publisher = thread::spawn(move || publish(&other, "news-1"));
        publish(&room, "news-2");
        publisher.join().expect("no panic");
        assert_quiet(&room);
        let got = members[0].got();
        assert_eq!(got, members[1].got(), "the same order for both");
        let mut sorted = got;
        sorted.sort_unstable();
        assert_eq!(sorted, ["ACKNOWLEDGE", "news-1", "news-2"]);
    });
}

#[test]
fn two_messages_of_one_publisher_arrive_in_their_order() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let (room, members) = room();
        let other = Arc::clone(&room);
        let publisher = thread::spawn(move || {
            publish(&other, "news-1");
            publish(&other, "news-2");
        });
        publish(&room, "news-3");
        publisher.join().expect("no panic");
        assert_quiet(&room);
        let got = members[0].got();
        assert_eq!(got, members[1].got(), "the same order for both");
        assert_eq!(got.len(), 4);
        let at = |word: &str| got.iter().position(|other| other == word).expect("delivered");
        assert!(at("news-1") < at("news-2"));
    });
}

#[test]
fn a_dropped_delivery_leaves_no_message_of_others_undelivered() {
    loom::model(|| {
        let (room, members) = room();
        // One batch is in the hands of a delivery that comes to nothing.
        let queued = room.core.lock().channel.broadcast(&LocalTarget::All, b"news-1", DeliveryPolicy::BROADCAST);
        assert_eq!(queued, Ok(2));
        let mut doomed = room.take_token().expect("there is work");
        let other = Arc::clone(&room);
        let publisher = thread::spawn(move || publish(&other, "news-2"));
        let DeliveryStep::Batch(batch) = doomed.next() else { panic!("there is work") };
        drop((batch, doomed));
        publisher.join().expect("no panic");
        assert_quiet(&room);
        let got = members[0].got();
        assert_eq!(got, members[1].got());
        // It is lost only if it was in that batch.
        assert!(got == ["ACKNOWLEDGE", "news-2"] || got == ["ACKNOWLEDGE"], "{got:?}");
    });
}

#[test]
fn a_delivery_that_never_began_loses_nothing() {
    loom::model(|| {
        let (room, members) = room();
        let queued = room.core.lock().channel.broadcast(&LocalTarget::All, b"news-1", DeliveryPolicy::BROADCAST);
        assert_eq!(queued, Ok(2));
        let doomed = room.take_token().expect("there is work");
        let other = Arc::clone(&room);
        let publisher = thread::spawn(move || publish(&other, "news-2"));
        drop(doomed);
        publisher.join().expect("no panic");
        assert_quiet(&room);
        assert_eq!(members[0].got(), ["ACKNOWLEDGE", "news-1", "news-2"]);
        assert_eq!(members[0].got(), members[1].got());
    });
}

#[test]
fn an_answer_stays_behind_what_was_published_before_it() {
    answers_in_order(false);
}

#[test]
fn an_answer_that_is_filtered_stays_behind_what_was_published_before_it() {
    answers_in_order(true);
}

fn answers_in_order(filters: bool) {
    loom::model(move || {
        let (room, members) = room_of(ModelLobby { filters, ..ModelLobby::default() });
        let (other, witness) = (Arc::clone(&room), members[0].clone());
        let publisher = thread::spawn(move || publish(&other, "news-3"));
        publish(&room, "news-1");
        let slot = room.read(|channel| channel.local_members().member("user-1").expect("a member").seats.as_slice()[0]);
        assert!(room.reply(AtOnce, &witness, slot, b"news-2", room.delivery_policy("news")).is_ok());
        publisher.join().expect("no panic");
        assert_quiet(&room);
        let mine: Vec<_> = witness.got().into_iter().filter(|word| word != "news-3").collect();
        assert_eq!(mine, ["ACKNOWLEDGE", "news-1", "news-2"]);
        assert_eq!(members[1].got().len(), 3);
    });
}

/// A connection's task polls a handler, which has given its context to another task: both publish. What the other task
/// publishes while the scope is open is flushed by the connection's task, which does not know of it otherwise.
#[test]
fn a_change_at_the_end_of_a_flush_scope_is_not_stranded() {
    loom::model(|| {
        let (room, members) = room();
        let scope = Arc::new(FlushScope::default());
        let (other, theirs) = (Arc::clone(&room), Arc::clone(&scope));
        let publisher = thread::spawn(move || publish_by(&other, Some(&*theirs), "news-1"));
        let mut changed = ChangedChannels::default();
        let entered = changed.enter(&room, &scope);
        publish_by(&room, Some(&*scope), "news-2");
        drop(entered);
        changed.flush(&mut Context::from_waker(Waker::noop()));
        publisher.join().expect("no panic");
        assert_quiet(&room);
        let got = members[0].got();
        assert_eq!(got, members[1].got(), "the same order for both");
        let mut sorted = got;
        sorted.sort_unstable();
        assert_eq!(sorted, ["ACKNOWLEDGE", "news-1", "news-2"]);
    });
}

/// The same, but the handler itself changes nothing, and the connection's task ends behind its poll.
#[test]
fn a_task_that_ends_flushes_changes_left_to_it_by_another_task() {
    loom::model(|| {
        let (room, members) = room();
        let scope = Arc::new(FlushScope::default());
        let (other, theirs) = (Arc::clone(&room), Arc::clone(&scope));
        let publisher = thread::spawn(move || publish_by(&other, Some(&*theirs), "news-1"));
        let mut changed = ChangedChannels::default();
        drop(changed.enter(&room, &scope));
        drop(changed.enter(&room, &scope));
        drop(changed);
        publisher.join().expect("no panic");
        assert_quiet(&room);
        assert_eq!(members[0].got(), ["ACKNOWLEDGE", "news-1"]);
    });
}

/// A join against the end of the channel's last membership.
#[test]
fn a_join_is_never_lost_to_a_channel_that_closes() {
    loom::model(|| {
        let hub = Hub::new(ChannelLimits::default(), Pacing::default(), Arc::default(), Arc::default(), None);
        let (first, second) = (Member::new(1), Member::new(2));
        let (old, slot) =
            hub.join(&mut ChangedChannels::default(), &name(), &lobby(), |channel, _| seat(channel, &first));
        let leaving = Arc::clone(&old);
        let leaver = thread::spawn(move || {
            let left = leaving.change(AtOnce, |channel| channel.leave(slot, ConnectionId::from_u128(1), Some("q")));
            assert!(matches!(left, Ok(Ok(Some(_)))));
        });
        let (room, slot) =
            hub.join(&mut ChangedChannels::default(), &name(), &lobby(), |channel, _| seat(channel, &second));
        leaver.join().expect("no panic");

        let live = hub.get("/room").expect("a member is in it");
        assert!(Arc::ptr_eq(&live, &room), "two live channels of one name");
        assert!(live.is_seated(slot, ConnectionId::from_u128(2)));
        assert_eq!(live.read(|channel| channel.local_members().connection_count()), 1);
        assert_quiet(&live);
        assert_eq!(second.got(), ["ACKNOWLEDGE"]);
        assert_eq!(first.got().first().map(String::as_str), Some("ACKNOWLEDGE"));
        assert!(old.core.lock().closed != Arc::ptr_eq(&old, &room), "a channel that is not live is closed");
    });
}

/// A member that leaves while another one publishes: it receives the messages queued before, then its flush marker.
#[test]
fn a_flush_marker_comes_last_and_once() {
    loom::model(|| {
        let (room, members) = room();
        let (other, leaver) = (Arc::clone(&room), members[0].clone());
        let publisher = thread::spawn(move || publish_to_one_or_two(&other, "news-1"));
        let slot = room.read(|channel| channel.local_members().member("user-1").expect("a member").seats.as_slice()[0]);
        let left = room.change(AtOnce, |channel| channel.leave(slot, leaver.connection(), None));
        assert!(matches!(left, Ok(Ok(Some(_)))));
        room.send_flush_marker(AtOnce, &leaver);
        publisher.join().expect("no panic");
        assert_quiet(&room);
        let got = leaver.got();
        assert_eq!(got.iter().filter(|word| *word == "FLUSH_MARKER").count(), 1);
        assert_eq!(got.last().map(String::as_str), Some("FLUSH_MARKER"));
        assert_eq!(members[1].got(), ["ACKNOWLEDGE", "news-1"]);
    });
}

fn publish_to_one_or_two(room: &LiveRoom, text: &str) {
    let sent =
        room.change(AtOnce, |channel| channel.broadcast(&LocalTarget::All, text.as_bytes(), DeliveryPolicy::BROADCAST));
    assert!(matches!(sent, Ok(Ok(1 | 2))));
}

#[test]
fn two_concurrent_first_joins_create_one_channel() {
    loom::model(|| {
        let hub = Hub::new(ChannelLimits::default(), Pacing::default(), Arc::default(), Arc::default(), None);
        let (first, second) = (Member::new(1), Member::new(2));
        let (other, member) = (Arc::clone(&hub), first.clone());
        let joiner = thread::spawn(move || {
            other.join(&mut ChangedChannels::default(), &name(), &lobby(), |channel, _| seat(channel, &member)).0
        });
        let (mine, _) =
            hub.join(&mut ChangedChannels::default(), &name(), &lobby(), |channel, _| seat(channel, &second));
        let theirs = joiner.join().expect("no panic");
        assert!(Arc::ptr_eq(&mine, &theirs));
        assert_eq!(mine.read(|channel| channel.local_members().connection_count()), 2);
        assert_quiet(&mine);
        assert_eq!((first.got(), second.got()), (vec!["ACKNOWLEDGE".to_owned()], vec!["ACKNOWLEDGE".to_owned()]));
    });
}

#[test]
fn a_channel_that_empties_leaves_the_hub() {
    loom::model(|| {
        let hub = Hub::new(ChannelLimits::default(), Pacing::default(), Arc::default(), Arc::default(), None);
        let members = [Member::new(1), Member::new(2)];
        let seats = members.each_ref().map(|member| {
            hub.join(&mut ChangedChannels::default(), &name(), &lobby(), |channel, _| seat(channel, member))
        });
        let leave = |(room, slot): (LiveRoom, Slot), number| {
            let left = room.change(AtOnce, |channel| channel.leave(slot, ConnectionId::from_u128(number), None));
            assert!(matches!(left, Ok(Ok(Some(_)))));
        };
        let [one, two] = seats;
        let leaver = thread::spawn(move || leave(one, 1));
        leave(two, 2);
        leaver.join().expect("no panic");
        assert!(hub.get("/room").is_none());
    });
}

/// A message that is kept, to all members.
fn publish_kept(room: &LiveRoom, event: &str) {
    let sent = room.change(AtOnce, |channel| {
        channel.publish_kept(None, &LocalTarget::All, event, "{}", DeliveryPolicy::BROADCAST)
    });
    assert!(matches!(sent, Ok(Ok(Some(_)))));
}

#[test]
fn a_client_that_resumes_gets_a_message_that_is_published_meanwhile_once() {
    loom::model(|| {
        let (room, members) = room_of(ModelLobby { ttl: Some(99_999), ..ModelLobby::default() });
        publish_kept(&room, "news-1");
        let start = room.read(|channel| channel.history().expect("kept").position());
        let other = Arc::clone(&room);
        let publisher = thread::spawn(move || publish_kept(&other, "news-2"));
        let (third, user) = (Member::new(3), UserId::new("user-3").expect("a valid id"));
        let resume = Some(Resume::From(Position { offset: 0, ..start }).into());
        let joined = room.change(AtOnce, |channel| {
            let join = Join { resume, ..Join::new(third.clone(), third.connection(), &user, "q") };
            channel.join(join, &|_| DeliveryPolicy::BROADCAST).recovery
        });
        assert!(joined.is_ok_and(|recovery| recovery.is_complete()));
        publisher.join().expect("no panic");
        assert_quiet(&room);
        assert_eq!(third.got(), ["ACKNOWLEDGE", "news-1", "news-2"]);
        assert_eq!(members[0].got(), ["ACKNOWLEDGE", "news-1", "news-2"]);
    });
}

#[test]
fn a_join_is_never_lost_to_a_channel_whose_last_message_expires() {
    loom::model(|| {
        let hub = Hub::new(ChannelLimits::default(), Pacing::default(), Arc::default(), Arc::default(), None);
        let keeps = Arc::new(ModelLobby { ttl: Some(0), ..ModelLobby::default() });
        let old = hub.get_or_create(&name(), &keeps);
        publish_kept(&old, "news-1");
        let expiring = Arc::clone(&old);
        let sweeper = thread::spawn(move || expiring.expire());
        let member = Member::new(1);
        let (room, slot) =
            hub.join(&mut ChangedChannels::default(), &name(), &keeps, |channel, _| seat(channel, &member));
        sweeper.join().expect("no panic");
        let live = hub.get("/room").expect("a member is in it");
        assert!(Arc::ptr_eq(&live, &room), "two live channels of one name");
        assert!(live.is_seated(slot, ConnectionId::from_u128(1)));
        assert_eq!(member.got(), ["ACKNOWLEDGE"]);
        assert!(old.core.lock().closed != Arc::ptr_eq(&old, &room), "a channel that is not live is closed");
    });
}

#[test]
fn a_ghost_that_comes_back_as_its_grace_ends_either_returns_or_has_left() {
    loom::model(|| {
        let hub = Hub::new(ChannelLimits::default(), Pacing::default(), Arc::default(), Arc::default(), None);
        let lobby = Arc::new(ModelLobby::default());
        let (before, after) = (Member::new(1), Member::new(1));
        let (old, slot) =
            hub.join(&mut ChangedChannels::default(), &name(), &lobby, |channel, _| seat(channel, &before));
        let lost = old.change(AtOnce, |channel| channel.lose(slot, before.connection(), Some(0)));
        assert!(matches!(lost, Ok(Ok(_))));
        let due = Arc::clone(&old);
        let sweeper = thread::spawn(move || {
            let gone = due.end_ghosts(GraceEnd::Due).len();
            due.expire();
            gone
        });
        let user = UserId::new("user-1").expect("a valid id");
        let (room, accepted) = hub.join(&mut ChangedChannels::default(), &name(), &lobby, |channel, _| {
            channel.join(Join::new(after.clone(), after.connection(), &user, "q"), &|_| DeliveryPolicy::BROADCAST)
        });
        let gone = sweeper.join().expect("no panic");
        assert_eq!((gone, accepted.first), (usize::from(!accepted.returned), !accepted.returned));
        let live = hub.get("/room").expect("a member is in it");
        assert!(Arc::ptr_eq(&live, &room) && live.is_seated(accepted.slot, after.connection()));
        assert!(live.read(|channel| channel.local_members().ghost_count() == 0));
    });
}
