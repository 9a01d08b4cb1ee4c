//! The HTTP routes for signing in. A name gets a token, and the page connects with the token.

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::json;

use crate::users::{SignIn, User, Users};

/// `POST /api/login` and `GET /api/me`.
pub(crate) fn routes(users: Users) -> Router {
    Router::new().route("/api/login", post(login)).route("/api/me", get(me)).with_state(users)
}

#[derive(Serialize)]
struct Session {
    token: String,
    user: User,
}

async fn login(State(users): State<Users>, request: Result<Json<SignIn>, JsonRejection>) -> Response {
    let signed_in = match &request {
        Ok(Json(request)) => users.sign_in(request),
        Err(_) => Err("That is not how to sign in."),
    };
    match signed_in {
        Ok((token, user)) => Json(Session { token, user }).into_response(),
        Err(message) => (StatusCode::BAD_REQUEST, Json(json!({ "message": message }))).into_response(),
    }
}

/// Returns the user of a token. The page asks, because a browser hides the reason why a WebSocket was refused.
async fn me(State(users): State<Users>, headers: HeaderMap) -> Result<Json<User>, StatusCode> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    token.and_then(|token| users.authenticate(token)).map(Json).ok_or(StatusCode::UNAUTHORIZED)
}
