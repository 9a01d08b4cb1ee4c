//! The nodes and their states. Each has a task that owns its process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::child::Child;

const NAMES: [&str; 2] = ["one", "two"];

/// All nodes. Clones share them.
#[derive(Clone)]
pub(crate) struct Nodes {
    all: Arc<[Node]>,
    turn: Arc<AtomicUsize>,
}

struct Node {
    name: &'static str,
    state: watch::Receiver<State>,
    orders: mpsc::Sender<Order>,
}

/// A node as the page shows it.
#[derive(Serialize)]
pub(crate) struct Shown {
    name: &'static str,
    #[serde(flatten)]
    state: State,
}

#[derive(Clone, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum State {
    Starting,
    Up { pid: u32, url: String },
    Down,
}

/// An order for a node. It has no effect if it does not fit the state of the node.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    Start,
    /// Kills it with SIGKILL: neither its clients nor the other node get a message.
    Kill,
    /// Stops it gracefully. It is not started again.
    Stop,
}

struct Order {
    action: Action,
    /// Dropped when the order is executed.
    _done: oneshot::Sender<()>,
}

impl Nodes {
    /// Starts all nodes with this Redis.
    pub(crate) async fn start(redis: &str) -> Nodes {
        let all = NAMES.map(|name| {
            let (state, shown) = watch::channel(State::Down);
            let (orders, given) = mpsc::channel(1);
            tokio::spawn(supervise(name, redis.to_owned(), state, given));
            Node { name, state: shown, orders }
        });
        let nodes = Nodes { all: all.into(), turn: Arc::default() };
        nodes.order_all(Action::Start).await;
        nodes
    }

    pub(crate) fn list(&self) -> Vec<Shown> {
        self.all.iter().map(|node| Shown { name: node.name, state: node.state.borrow().clone() }).collect()
    }

    /// Returns one of the nodes that are up, in rotation.
    pub(crate) fn next(&self) -> Option<Shown> {
        let mut up = self.list();
        up.retain(|node| matches!(node.state, State::Up { .. }));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(up.len())?;
        Some(up.swap_remove(turn))
    }

    /// Executes an order, and waits for that. Returns `None` if there is no such node.
    pub(crate) async fn order(&self, name: &str, action: Action) -> Option<()> {
        let node = self.all.iter().find(|node| node.name == name)?;
        let (done, is_done) = oneshot::channel();
        // An error of the first means that the node was stopped before; the second one always ends with an error, because the
        // sender is dropped when the order is executed.
        let _ = node.orders.send(Order { action, _done: done }).await;
        let _ = is_done.await;
        Some(())
    }

    /// Stops all nodes. They are not started again.
    pub(crate) async fn stop(&self) {
        self.order_all(Action::Stop).await;
    }

    async fn order_all(&self, action: Action) {
        let [one, two] = NAMES.map(|name| self.order(name, action));
        tokio::join!(one, two);
    }
}

/// Runs the process of a node, and starts it again at an order, until the node is stopped.
async fn supervise(name: &'static str, redis: String, state: watch::Sender<State>, mut orders: mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        match order.action {
            Action::Start => state.send_replace(State::Starting),
            Action::Kill => continue,
            Action::Stop => return,
        };
        let last = match Child::start(["node", "--child", "--name", name, "--redis", &redis]).await {
            Ok(child) => {
                state.send_replace(State::Up { pid: child.pid(), url: child.address().to_owned() });
                drop(order);
                run_until_end(name, child, &mut orders).await
            }
            Err(error) => {
                eprintln!("node {name} does not start: {error:#}");
                None
            }
        };
        state.send_replace(State::Down);
        if matches!(last, Some(Order { action: Action::Stop, .. })) {
            return;
        }
    }
}

/// Waits for the end of a process. Returns the order that has ended it, if one has.
async fn run_until_end(name: &str, mut child: Child, orders: &mut mpsc::Receiver<Order>) -> Option<Order> {
    loop {
        let order = tokio::select! {
            ended = child.ended() => {
                eprintln!("node {name} has ended by itself: {ended:?}");
                return None;
            }
            order = orders.recv() => order?,
        };
        let ended = match order.action {
            Action::Start => continue,
            Action::Kill => child.kill().await,
            Action::Stop => child.stop().await,
        };
        if let Err(error) = ended {
            eprintln!("node {name} cannot be ended: {error}");
        }
        return Some(order);
    }
}
