//! Our nodes among those of other languages, over one Redis: what clients of each see of those of the others.
//!
//! The published Python and Rust servers run as processes of their own. Those in JavaScript and Go are not to be had as
//! packages that speak this protocol: a scripted node says what they say, and checks what ours say as strictly as they do.
//! `./test interop` runs it; `INTEROP_LOG` names a file for all that the nodes have said. What is known not to work in a published server is listed in e2e/nodes/defects.txt.

mod client;
mod death;
mod defects;
mod matrix;
mod meeting;
mod members;
mod messages;
mod node;
mod redis;
mod scripted;

use std::sync::Arc;

use matrix::{Attempt, Case, Matrix};
use meeting::Meeting;
use node::{Language, Nodes};
use redis::Redis;

/// The pairs of acting and watching nodes. The pair of our own nodes shows the expected results.
const PAIRS: [(Language, Language); 5] = [
    (Language::Ours, Language::Ours),
    (Language::Ours, Language::Python),
    (Language::Python, Language::Ours),
    (Language::Ours, Language::Rust),
    (Language::Rust, Language::Ours),
];

type Row = (&'static str, fn(Meeting) -> Attempt);

const ROWS: [Row; 15] = [
    ("message", |meeting| Box::pin(messages::message(meeting))),
    ("all but the sender", |meeting| Box::pin(messages::all_but_the_sender(meeting))),
    ("to one user", |meeting| Box::pin(messages::to_one_user(meeting))),
    ("order", |meeting| Box::pin(messages::order(meeting))),
    ("join", |meeting| Box::pin(members::join(meeting))),
    ("late join", |meeting| Box::pin(members::late_join(meeting))),
    ("update", |meeting| Box::pin(members::update(meeting))),
    ("untrack", |meeting| Box::pin(members::untrack(meeting))),
    ("leave", |meeting| Box::pin(members::leave(meeting))),
    ("cut", |meeting| Box::pin(members::cut(meeting))),
    ("assigns", |meeting| Box::pin(members::assigns(meeting))),
    ("assigns of others", |meeting| Box::pin(members::assigns_of_others(meeting))),
    ("evict", |meeting| Box::pin(members::evict(meeting))),
    ("evict others", |meeting| Box::pin(members::evict_others(meeting))),
    ("remove others", |meeting| Box::pin(members::remove_others(meeting))),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs Redis and the published servers: ./test interop"]
async fn nodes_of_all_languages_see_each_other() {
    // The matrix says what has failed, and how.
    std::panic::set_hook(Box::new(|_| {}));
    let redis = Arc::new(Redis::start().await);
    let nodes = Nodes::start(&redis.url).await;
    let mut cases = published(&nodes);
    cases.extend(death::cases(&redis, &nodes));
    cases.extend(scripted::cases(&redis, nodes.pair(PAIRS[0]).0));
    let mut matrix = Matrix::of(cases).await;
    matrix.append(Matrix::of(scripted::all_that_was_said(&redis)).await);
    if let Ok(file) = std::env::var("INTEROP_LOG") {
        redis.write_down(&file);
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
            attempt(Meeting { here, there, room })
        };
        Case::with_attempts(row, &format!("{acts}→{watches}"), attempt)
    };
    ROWS.into_iter().flat_map(|row| PAIRS.map(|pair| case(row, pair))).collect()
}
