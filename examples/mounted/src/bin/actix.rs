//! In actix-web: `pondsocket-actix` gives a route.

use std::io;

use actix_web::{App, HttpServer, web};
use mounted::{Database, Said};

#[actix_web::main]
async fn main() -> io::Result<()> {
    let database = Database::default();
    let pond = mounted::pond(&database);
    let listener = mounted::listen().await?.into_std()?;
    let mounted = pond.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(database.clone()))
            .route("/messages", web::get().to(messages))
            .route("/ws/{path:.*}", pondsocket_actix::route(&mounted))
    });
    let server = server.tcp_nodelay(true).h1_allow_half_closed(false).disable_signals().listen(listener)?.run();

    // The pond is drained before the host stops, because the workers of the host end with their connections.
    let (_, drained) = mounted::end_at_signal(pond)?;
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        let report = drained.await;
        handle.stop(true).await;
        report
    });
    server.await
}

async fn messages(database: web::Data<Database>) -> web::Json<Vec<Said>> {
    web::Json(database.messages())
}
