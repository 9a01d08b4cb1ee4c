//! A client that sends numbered messages to one node, all the time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::balancer::Addresses;
use crate::log::Number;
use crate::reader::{connect, join, text};

#[derive(Debug)]
pub(crate) struct Publisher {
    sent: Arc<Mutex<Number>>,
    /// The number of users that its presence list has had last.
    present: Arc<AtomicUsize>,
    is_on: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// `number` is its place among all publishers.
    pub(crate) fn start(number: usize, node: usize, nodes: Addresses, room: String, interval: Duration) -> Publisher {
        let sent = Arc::new(Mutex::new(Number { publisher: number, ..Number::default() }));
        let is_on = watch::Sender::new(true);
        let present = Arc::new(AtomicUsize::new(0));
        let (counter, seen, on) = (Arc::clone(&sent), Arc::clone(&present), is_on.subscribe());
        let task = tokio::spawn(async move {
            loop {
                if let Some(address) = nodes.get(node) {
                    // The node is to end with every fault that it has: the next connection counts anew.
                    let _ = publish(&address.to_string(), &room, (&counter, &seen), on.clone(), interval).await;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        Publisher { sent, present, is_on, task }
    }

    /// The last message that it has sent.
    pub(crate) fn sent(&self) -> Number {
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of users that it has seen last in its room, on all nodes.
    pub(crate) fn present(&self) -> usize {
        self.present.load(Ordering::Relaxed)
    }

    /// Its node has ended, and it has seen nobody on the next one.
    pub(crate) fn forget(&self) {
        self.present.store(0, Ordering::Relaxed);
    }

    /// Sends nothing more.
    pub(crate) fn pause(&self) {
        self.is_on.send_replace(false);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn publish(
    address: &str,
    room: &str,
    (sent, present): (&Mutex<Number>, &AtomicUsize),
    mut on: watch::Receiver<bool>,
    time: Duration,
) -> Result<(), Box<Error>> {
    let name = format!("publisher {}", sent.lock().unwrap_or_else(PoisonError::into_inner).publisher);
    // It is the same user in each of its connections.
    let mut socket = connect(address, &format!("{}-of-these-tests", name.replace(' ', "-"))).await?;
    join(&mut socket, room, &name, "").await?;
    {
        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        *sent = Number { connection: sent.connection + 1, nth: 0, ..*sent };
    }
    present.store(0, Ordering::Relaxed);
    let mut ticks = interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(message) => if let Message::Text(text) = message? && text.contains(r#""action":"PRESENCE""#) {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    let list = message["payload"]["presence"].as_array().filter(|_| message["payload"]["partial"] != true);
                    list.into_iter().for_each(|list| present.store(list.len(), Ordering::Relaxed));
                },
                None => return Ok(()),
            },
            _ = ticks.tick(), if *on.borrow_and_update() => {
                let number = {
                    let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                    sent.nth += 1;
                    *sent
                };
                let payload = json!({ "n": [number.publisher, number.connection, number.nth] });
                let event = if number.nth % 5 == 0 { "others" } else { "message" };
                // A message with an id that its session has seen would be taken for a repeat.
                let id = format!("{}-{}", number.connection, number.nth);
                socket.send(Message::text(text("BROADCAST", event, room, &id, &payload))).await?;
            }
        }
    }
}
