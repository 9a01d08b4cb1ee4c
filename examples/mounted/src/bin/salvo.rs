//! In salvo: the pond is a `tower` service behind one handler that tells it the peer.

use std::io;

use mounted::Database;
use pondsocket::PeerAddr;
use salvo::affix_state;
use salvo::conn::ConnCtrl;
use salvo::conn::tcp::TcpAcceptor;
use salvo::http::ReqBody;
use salvo::prelude::*;

#[tokio::main]
async fn main() -> io::Result<()> {
    let database = Database::default();
    let pond = mounted::pond(&database);
    // The pond takes any body, so salvo has to say which one it has.
    let mounted = TowerServiceCompat::<ReqBody, _, _, _>::compat(pond.service());
    let app = Router::new()
        .hoop(affix_state::inject(database))
        .push(Router::with_path("messages").get(messages))
        .push(Router::with_path("ws/{**path}").hoop(prepare).goal(mounted));

    let (stopped, drained) = mounted::end_at_signal(pond)?;
    let server = Server::new(TcpAcceptor::try_from(mounted::listen().await?)?);
    let handle = server.handle();
    tokio::spawn(async move {
        stopped.await;
        handle.stop_graceful(None);
    });
    mounted::run(server.try_serve(app), drained).await
}

/// Tells the pond the peer, and salvo that a connection may be silent for long.
#[handler]
async fn prepare(request: &mut Request) {
    if let Some(peer) = request.remote_addr().clone().into_std() {
        request.extensions_mut().insert(PeerAddr(peer));
    }
    if let Some(connection) = request.extensions().get::<ConnCtrl>() {
        connection.relax_timeouts();
    }
}

#[handler]
async fn messages(depot: &mut Depot) -> Json<Vec<mounted::Said>> {
    Json(depot.get_typed::<Database>().expect("it is injected").messages())
}
