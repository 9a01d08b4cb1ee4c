//! Clients on several nodes miss nothing, get nothing in another order, and nothing twice that was known to have arrived,
//! whatever happens to connections, nodes and Redis; or they are told, and only when Redis lost what it had or was away for longer
//! than nodes wait for it.
//!
//! Publishers on each node send numbered messages all the time. Readers connect through balancers of their own, come back to another
//! node after each loss, and every position and number is checked. They are raw WebSockets, and the published clients: in JavaScript
//! with `resume.js` over WebSockets and event streams, and in JavaScript, Rust and Python without, with a session.
//!
//! `./test nothing_lost` runs all forms at once, briefly; the long form runs them one after the other, for an hour. `NOTHING_LOST_ONLY`
//! selects the forms whose names contain it, `NOTHING_LOST_PERCENT` a part of the long form, and `NOTHING_LOST_SEED` repeats the
//! random choices of a run.

mod balancer;
mod cluster;
mod faults;
mod followers;
mod forms;
mod log;
mod publisher;
mod reader;
mod store;
mod tally;

use std::env::var;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e_tests::allow_descriptors;

use cluster::Cluster;
use forms::{Form, forms};
use tally::Table;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs Redis and the published clients: ./test nothing_lost"]
async fn nothing_is_lost_and_nothing_comes_twice_on_any_node() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let seed = var("NOTHING_LOST_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("a number"));
    let is_long = var("NOTHING_LOST_LONG").is_ok_and(|long| !long.is_empty());
    let percent = var("NOTHING_LOST_PERCENT").map_or(100, |percent| percent.parse().expect("a number"));
    let percent = is_long.then_some(percent);
    let only = var("NOTHING_LOST_ONLY").unwrap_or_default();
    println!("NOTHING_LOST_SEED={seed}");
    allow_descriptors(16_384);
    let (mut done, mut running) = (Vec::new(), Vec::new());
    for form in forms().into_iter().filter(|form| form.name.contains(&only)) {
        let name = form.name;
        let form = tokio::spawn(run(form, seed, percent));
        if is_long {
            done.push((name, form.await));
        } else {
            running.push((name, form));
        }
    }
    for (name, form) in running {
        done.push((name, form.await));
    }
    Table::print_head();
    let mut faults = Vec::new();
    for (name, outcome) in done {
        match outcome {
            Ok((table, found)) => {
                table.print();
                faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
            }
            // The panic has been printed.
            Err(_) => faults.push(format!("{name}: FAILED")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

async fn run(form: Form, seed: u64, percent: Option<usize>) -> (Table, Vec<String>) {
    let setup = if percent.is_some() { form.long } else { form.short };
    let mut cluster = Cluster::start(setup, seed).await;
    let note = form.extent.run(&mut cluster, percent).await;
    cluster.ends(note).await
}
