//! In warp: its filters, as a service, stand inside of the pond's layer, and hyper serves both.

use std::io;

use mounted::Database;
use tower::ServiceBuilder;
use warp::Filter;

#[tokio::main]
async fn main() -> io::Result<()> {
    let database = Database::default();
    let pond = mounted::pond(&database);
    let filters = warp::path!("messages").and(warp::get()).map(move || warp::reply::json(&database.messages()));
    let app = ServiceBuilder::new().layer(pond.layer()).service(warp::service(filters));

    let (stopped, drained) = mounted::end_at_signal(pond)?;
    mounted::run(mounted::serve(mounted::listen().await?, app, stopped), drained).await
}
