//! The HTTP routes of the issuer: signing in, renewing a token, and asking for the reason why a token is refused, because a
//! browser does not show the status of a WebSocket handshake to the page.

use axum::Router;
use axum::extract::{Json, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::{self, Account};
use crate::rights::{ROOMS, right};
use crate::tokens::{Claims, Refused, Tokens};

/// `POST /api/login`, `POST /api/renew` and `GET /api/token`.
pub(crate) fn routes(tokens: Tokens) -> Router {
    Router::new()
        .route("/api/login", post(login))
        .route("/api/renew", post(renew))
        .route("/api/token", get(show))
        .with_state(tokens)
}

#[derive(Deserialize)]
struct SignIn {
    account: String,
}

async fn login(State(tokens): State<Tokens>, Json(request): Json<SignIn>) -> Response {
    match accounts::find(&request.account) {
        Some(account) => issue(&tokens, account),
        None => (StatusCode::UNAUTHORIZED, Json(json!({ "message": "there is no such account" }))).into_response(),
    }
}

/// A new token for an old one that is still valid. The account is looked up again: its role may have changed.
async fn renew(State(tokens): State<Tokens>, headers: HeaderMap) -> Response {
    match tokens.check(bearer(&headers)) {
        Ok(claims) => {
            accounts::find(&claims.sub).map_or_else(|| refuse(Refused::Foreign), |account| issue(&tokens, account))
        }
        Err(refused) => refuse(refused),
    }
}

/// Returns the content of a token, or the reason for its refusal.
async fn show(State(tokens): State<Tokens>, headers: HeaderMap) -> Response {
    match tokens.check(bearer(&headers)) {
        Ok(claims) => Json(describe(&claims)).into_response(),
        Err(refused) => refuse(refused),
    }
}

fn issue(tokens: &Tokens, account: &Account) -> Response {
    match tokens.issue(account) {
        Ok(token) => Json(json!({ "token": token })).into_response(),
        Err(error) => {
            tracing::error!("{error:#}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn describe(claims: &Claims) -> Value {
    let rooms = ROOMS.map(|room| json!({ "name": room, "right": right(claims.role, room) }));
    json!({ "id": claims.sub, "name": claims.name, "role": claims.role, "expiresAt": claims.exp, "rooms": rooms })
}

fn refuse(refused: Refused) -> Response {
    let body = json!({ "reason": refused.name(), "message": refused.text() });
    (StatusCode::UNAUTHORIZED, Json(body)).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
