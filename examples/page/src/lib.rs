//! The parts that all examples share: their host, and their pages, which are embedded in their programs.

mod host;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

pub use host::Host;

/// The content security policy: scripts and styles of the page itself, and connections to its own origin.
const POLICY: &str =
    "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; frame-ancestors 'none'";

/// The style that all pages begin with.
const BASE: &str = include_str!("../base.css");

/// The routes of the page in the folder `page` of the crate that this is written in.
///
/// ```ignore
/// let app = Router::new().merge(page::routes!()).fallback_service(pond.service());
/// ```
#[macro_export]
macro_rules! routes {
    () => {
        $crate::files(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/page/index.html")),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/page/style.css")),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/page/dist/app.js")),
        )
    };
}

/// The routes of a page: `/`, `/base.css`, `/style.css` and `/app.js`. See [`routes!`].
pub fn files<S: Clone + Send + Sync + 'static>(
    document: &'static str,
    style: &'static str,
    script: &'static str,
) -> Router<S> {
    Router::new()
        .route("/", get(move || file("text/html; charset=utf-8", document)))
        .route("/base.css", get(|| file("text/css; charset=utf-8", BASE)))
        .route("/style.css", get(move || file("text/css; charset=utf-8", style)))
        .route("/app.js", get(move || file("text/javascript; charset=utf-8", script)))
}

async fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache"), (CONTENT_SECURITY_POLICY, POLICY)], text)
}
