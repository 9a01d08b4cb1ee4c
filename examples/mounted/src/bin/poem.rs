//! In poem: an endpoint that passes requests to the pond, with the parts that poem stores apart from them.

use std::io;

use mounted::Database;
use poem::endpoint::TowerCompatExt;
use poem::listener::TcpAcceptor;
use poem::middleware::AddData;
use poem::web::{Data, Json};
use poem::{Endpoint, EndpointExt, Request, Response, Route, Server, get, handler};
use pondsocket::{HostUpgrade, PeerAddr, PondSocket};

#[tokio::main]
async fn main() -> io::Result<()> {
    let database = Database::default();
    let pond = mounted::pond(&database);
    let app = Route::new().at("/messages", get(messages)).nest("/ws", mount(&pond)).with(AddData::new(database));

    let (stopped, drained) = mounted::end_at_signal(pond)?;
    let acceptor = TcpAcceptor::from_tokio(mounted::listen().await?)?;
    mounted::run(Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(app, stopped, None), drained).await
}

/// An endpoint that calls the pond. Poem's own adapter omits the upgrade, the peer, and the prefix that `nest` has stripped of
/// the path.
fn mount(pond: &PondSocket) -> impl Endpoint<Output = Response> + use<> {
    pond.service().compat().before(async |mut request: Request| {
        *request.uri_mut() = request.original_uri().clone();
        if let Some(peer) = request.remote_addr().as_socket_addr().copied() {
            request.extensions_mut().insert(PeerAddr(peer));
        }
        if let Ok(upgrade) = request.take_upgrade() {
            let upgrade = HostUpgrade::new(async { upgrade.await.map_err(io::Error::other) });
            request.extensions_mut().insert(upgrade);
        }
        Ok(request)
    })
}

#[handler]
fn messages(database: Data<&Database>) -> Json<Vec<mounted::Said>> {
    Json(database.messages())
}
