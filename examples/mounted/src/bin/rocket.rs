//! In Rocket: `pondsocket-rocket` gives routes.

use std::env;
use std::io;

use mounted::Database;
use rocket::config::{Config, Shutdown};
use rocket::error::ErrorKind;
use rocket::fairing::AdHoc;
use rocket::http::ContentType;
use rocket::{State, get, routes};

#[rocket::main]
async fn main() -> io::Result<()> {
    let database = Database::default();
    let pond = mounted::pond(&database);
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    // This program handles the signals, because the pond has to be drained.
    let shutdown = Shutdown { ctrlc: false, signals: Default::default(), ..Shutdown::default() };
    let rocket = rocket::custom(Config { port, shutdown, ..Config::default() })
        .manage(database)
        .mount("/", routes![messages])
        .mount("/ws", pondsocket_rocket::routes(&pond))
        .attach(AdHoc::on_liftoff("say where it listens", |rocket| {
            Box::pin(async { println!("listening {}:{}", rocket.config().address, rocket.config().port) })
        }));
    let rocket = rocket.ignite().await.map_err(io::Error::other)?;

    // The pond is drained before the host stops, because the host soon drops connections that are still open.
    let (_, drained) = mounted::end_at_signal(pond)?;
    let handle = rocket.shutdown();
    tokio::spawn(async move {
        let report = drained.await;
        handle.notify();
        report
    });
    match rocket.launch().await {
        // Requests that had not ended in the time for them were cut off, of which Rocket warns.
        Err(error) if matches!(error.kind(), ErrorKind::Shutdown(_, None)) => Ok(()),
        ended => ended.map(drop).map_err(io::Error::other),
    }
}

#[get("/messages")]
fn messages(database: &State<Database>) -> (ContentType, String) {
    (ContentType::JSON, database.messages_as_json())
}
