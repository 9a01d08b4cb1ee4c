//! Nodes of this server and of servers in other languages on one Redis: the effects of the clients of each on those of the others.
//!
//! The published Python and Rust servers run as processes of their own. The servers in JavaScript and Go are not available as
//! packages with this protocol: a scripted node sends their messages, and checks messages of this server as strictly as they do.
//! `./test interop` runs it; `INTEROP_LOG` names a file for all messages of the nodes. Known defects of published servers are listed in e2e/servers/defects.txt.

mod client;
mod defects;
mod matrix;
mod members;
mod messages;
mod node;
mod node_loss;
mod node_pair;
mod redis;
mod scripted;

use std::sync::Arc;

use matrix::{Attempt, Case, Matrix};
use node::{Language, Nodes};
use node_pair::NodePair;
use redis::Redis;

/// The pairs of acting and observing nodes. The pair of nodes of this server has the expected results.
const PAIRS: [(Language, Language); 5] = [
    (Language::Ours, Language::Ours),
    (Language::Ours, Language::Python),
    (Language::Python, Language::Ours),
    (Language::Ours, Language::Rust),
    (Language::Rust, Language::Ours),
];

type Row = (&'static str, fn(NodePair) -> Attempt);

const ROWS: [Row; 15] = [
    ("message", |node_pair| Box::pin(messages::message(node_pair))),
    ("all but the sender", |node_pair| Box::pin(messages::all_but_the_sender(node_pair))),
    ("to one user", |node_pair| Box::pin(messages::to_one_user(node_pair))),
    ("order", |node_pair| Box::pin(messages::order(node_pair))),
    ("join", |node_pair| Box::pin(members::join(node_pair))),
    ("late join", |node_pair| Box::pin(members::late_join(node_pair))),
    ("update", |node_pair| Box::pin(members::update(node_pair))),
    ("untrack", |node_pair| Box::pin(members::untrack(node_pair))),
    ("leave", |node_pair| Box::pin(members::leave(node_pair))),
    ("cut", |node_pair| Box::pin(members::cut(node_pair))),
    ("assigns", |node_pair| Box::pin(members::assigns(node_pair))),
    ("assigns of others", |node_pair| Box::pin(members::assigns_of_others(node_pair))),
    ("evict", |node_pair| Box::pin(members::evict(node_pair))),
    ("evict others", |node_pair| Box::pin(members::evict_others(node_pair))),
    ("remove others", |node_pair| Box::pin(members::remove_others(node_pair))),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs Redis and the published servers: ./test interop"]
async fn nodes_of_all_languages_see_each_other() {
    // The matrix has the failures with their reasons.
    std::panic::set_hook(Box::new(|_| {}));
    let redis = Arc::new(Redis::start().await);
    let nodes = Nodes::start(&redis.url).await;
    let mut cases = published(&nodes);
    cases.extend(node_loss::cases(&redis, &nodes));
    cases.extend(scripted::cases(&redis, nodes.pair(PAIRS[0]).0));
    let mut matrix = Matrix::of(cases).await;
    matrix.append(Matrix::of(scripted::all_messages(&redis)).await);
    if let Ok(file) = std::env::var("INTEROP_LOG") {
        redis.write_log(&file);
    }
    matrix.print();
    assert!(matrix.is_as_known(), "see the matrix");
}

/// Each row, for each pair, in a room of its own.
fn published(nodes: &Nodes) -> Vec<Case> {
    let case = |(row, attempt): Row, pair: (Language, Language)| {
        let (here, there) = nodes.pair(pair);
        let (acts, watches) = pair;
        let attempt = |number| {
            let room = format!("/chat/{}-{acts}-{watches}-{number}", row.replace(' ', "-"));
            attempt(NodePair { here, there, room })
        };
        Case::with_attempts(row, &format!("{acts}→{watches}"), attempt)
    };
    ROWS.into_iter().flat_map(|row| PAIRS.map(|pair| case(row, pair))).collect()
}
