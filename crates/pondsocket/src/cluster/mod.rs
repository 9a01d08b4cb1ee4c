//! The bus that connects several servers: its contract, and the types that an implementation needs.
//!
//! A [`Bus`] carries messages between nodes, by [`Topic`]. It knows nothing of channels or users. By default a server
//! has no bus: it is a single node, and encodes no messages for others. `pondsocket-redis` is a bus over Redis; the
//! `testing` feature has one in memory (`testing::bus::MemoryHub`) and a suite that any bus should pass
//! (`bus_conformance!`).
//!
//! This example connects the nodes of one process, without any failures:
//!
//! ```
//! use std::collections::{HashMap, HashSet};
//! use std::sync::{Arc, Mutex};
//!
//! use pondsocket::cluster::{BoxFuture, Bus, BusError, BusEvent, BusSession, BusSink, Outcome, Publish, Stop, Topic};
//!
//! #[derive(Default)]
//! struct Hub(Mutex<HashMap<usize, (HashSet<Topic>, Option<BusSink>)>>);
//!
//! struct Node(Arc<Hub>, usize);
//!
//! const SESSION: BusSession = BusSession(1);
//!
//! impl Bus for Node {
//!     fn run(self: Arc<Self>, sink: BusSink, stop: Stop) -> BoxFuture<'static, Result<(), BusError>> {
//!         Box::pin(async move {
//!             sink.push(BusEvent::Up { session: SESSION });
//!             {
//!                 let mut nodes = self.0.0.lock().unwrap();
//!                 let (topics, running) = nodes.entry(self.1).or_default();
//!                 sink.push(BusEvent::Subscribed { session: SESSION, topics: topics.iter().cloned().collect() });
//!                 *running = Some(sink);
//!             }
//!             stop.stopped().await;
//!             self.0.0.lock().unwrap().remove(&self.1);
//!             Ok(())
//!         })
//!     }
//!
//!     fn update_subscriptions(&self, add: &[Topic], remove: &[Topic]) {
//!         let mut nodes = self.0.0.lock().unwrap();
//!         let (topics, sink) = nodes.entry(self.1).or_default();
//!         topics.extend(add.iter().cloned());
//!         topics.retain(|topic| !remove.contains(topic));
//!         if let Some(sink) = sink {
//!             sink.push(BusEvent::Subscribed { session: SESSION, topics: add.to_vec() });
//!         }
//!     }
//!
//!     fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Outcome>> {
//!         let nodes = self.0.0.lock().unwrap();
//!         let send = |Publish { topic, data }: Publish| {
//!             let mut receivers = 0;
//!             for sink in nodes.values().filter(|(topics, _)| topics.contains(&topic)).filter_map(|(_, sink)| sink.as_ref()) {
//!                 sink.push(BusEvent::Message { topic: topic.clone(), data: data.clone() });
//!                 receivers += 1;
//!             }
//!             Outcome::Sent { receivers: Some(receivers) }
//!         };
//!         let outcomes = batch.into_iter().map(send).collect();
//!         Box::pin(std::future::ready(outcomes))
//!     }
//! }
//! # use pondsocket::cluster::SinkLimits;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let hub = Arc::new(Hub::default());
//! # let (sink, mut events) = BusSink::new(SinkLimits::default());
//! # let (stopper, stop) = Stop::new();
//! # let ada = Arc::new(Node(hub.clone(), 1));
//! # ada.update_subscriptions(&[Topic::from("t")], &[]);
//! # let running = tokio::spawn(ada.run(sink, stop));
//! # assert!(matches!(events.next().await, Some(BusEvent::Up { .. })));
//! # assert!(matches!(events.next().await, Some(BusEvent::Subscribed { .. })));
//! # let sent = Node(hub, 2).publish(vec![Publish::new("t", "hello")]).await;
//! # assert_eq!(sent, [Outcome::Sent { receivers: Some(1) }]);
//! # assert!(matches!(events.next().await, Some(BusEvent::Message { data, .. }) if data == "hello"));
//! # stopper.stop();
//! # running.await.unwrap().unwrap();
//! # assert!(events.next().await.is_none());
//! # }
//! ```
//!
//! # The contract
//!
//! The node relies on these rules and on nothing else:
//!
//! | | |
//! |---|---|
//! | C1 | What one bus publishes on one topic arrives in the order of the calls of [`Bus::publish`] and of their batches. |
//! | C2 | A message is lost only if [`BusEvent::Gap`] for its topic or [`BusEvent::Down`] reports the loss, not before it happens. |
//! | C3 | A message may arrive twice. The node ignores it if it is among the last 1024 of its sender. |
//! | C4 | [`BusEvent::Subscribed`] comes once the engine has confirmed the topic in this session: messages that are published from then on arrive. |
//! | C5 | [`BusEvent::Down`] voids all subscriptions. After the next `Up` the bus subscribes to all wanted topics by itself, and reports each as `Subscribed`. |
//! | C6 | [`BusSink::push`] never waits. A message that does not fit is dropped, and the sink reports the gap. |
//! | C7 | A node may receive its own messages. |
//! | C8 | There is no order between two topics, or between two publishers. |
//!
//! A message without a subscriber does not count as lost. Neither does one that was published on a topic before
//! `Subscribed`, or after the topic was removed.
//!
//! A bus that has a [`HistoryStore`] keeps these rules, too:
//!
//! | | |
//! |---|---|
//! | H1 | The messages of a history have the offsets 1, 2, 3 and so on under one epoch, whichever nodes append them. Two histories of a topic never have the same epoch, so a position is never given to two messages. |
//! | H2 | Subscribers of the topic receive the messages in the order of their offsets, with the text that the history keeps. C2 and C3 hold for them. |
//! | H3 | What one bus appends and publishes on one topic keeps the order of the calls. |
//! | H4 | [`Appended::NotSent`] is final: the message is not appended later. After [`Appended::Unknown`] it may be [repeated](Append::is_repeated): if it was appended, and is among the last thousand of its history, the answer is its position, and it is not published again. An attempt that comes to the engine behind such a repeat has no effect. |
//! | H5 | A history that the engine has lost, or of which it may have lost the end, is read as none, and begins anew with the next message. |
//! | H6 | What is read is contiguous, and ends with the message of [`StoredHistory::position`]. |
//! | H7 | A record replaces none of a later version. Of several that replace one record by a later version, one does. |
//! | H8 | No call waits for an engine that is not there. |

mod bus;
mod error;
mod event;
mod history;
mod lease;
pub(crate) mod node;
mod shared;
mod sink;
mod stats;
mod stop;

pub use bus::{BoxFuture, Bus, Caps, Outcome, Publish};
pub use error::{BusError, BusErrorKind};
pub use event::{BusEvent, BusSession, GapCause, Lost};
pub use history::{Append, Appended, HistoryStore, StoredHistory, StoredMessage, StoredRecord};
pub use lease::Leases;
pub use pondsocket_proto::cluster::Topic;
#[doc(no_inline)]
pub use pondsocket_proto::cluster::{Excess, Lease, NodeId};
#[doc(no_inline)]
pub use pondsocket_proto::position::{Epoch, Position};
pub use shared::SharedBus;
pub use sink::{BusEvents, BusSink, SinkLimits, SinkStats};
pub use stats::BusStats;
pub use stop::{Stop, Stopper};
