//! Who may come in: a name is enough to sign in, and the token that it gives lets the page connect.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// The longest name, in characters.
const MAX_NAME: usize = 24;

/// Somebody who has signed in.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) role: Role,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Talk.
    Member,
    /// Kick others, too.
    Admin,
}

/// The people who have signed in since the start, by token. A real application asks its database.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    admin_code: Arc<str>,
    by_token: Arc<Mutex<HashMap<String, User>>>,
}

/// What the page sends to sign in.
#[derive(Debug, Deserialize)]
pub(crate) struct Login {
    username: String,
    #[serde(default)]
    admin_code: String,
}

impl Users {
    pub(crate) fn new(admin_code: String) -> Users {
        Users { admin_code: admin_code.into(), by_token: Arc::default() }
    }

    /// Signs somebody in; the token is theirs to keep.
    pub(crate) fn sign_in(&self, login: &Login) -> Result<(String, User), &'static str> {
        let username = login.username.trim();
        if username.is_empty() {
            return Err("Please enter a name.");
        }
        if username.chars().count() > MAX_NAME || username.chars().any(char::is_control) {
            return Err("A name has at most 24 ordinary characters.");
        }
        let role = match &*login.admin_code {
            "" => Role::Member,
            code if *code == *self.admin_code => Role::Admin,
            _ => return Err("That is not the admin code."),
        };
        let user = User { id: Uuid::new_v4().to_string(), username: username.to_owned(), role };
        let token = Uuid::new_v4().to_string();
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), user.clone());
        Ok((token, user))
    }

    /// Whose token it is.
    pub(crate) fn authenticate(&self, token: &str) -> Option<User> {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}

/// `POST /api/login`.
pub(crate) async fn login(State(users): State<Users>, Json(login): Json<Login>) -> Response {
    match users.sign_in(&login) {
        Ok((token, user)) => Json(json!({ "token": token, "user": user })).into_response(),
        Err(message) => (StatusCode::BAD_REQUEST, Json(json!({ "message": message }))).into_response(),
    }
}

/// The query of `GET /api/me`.
#[derive(Debug, Deserialize)]
pub(crate) struct Who {
    token: String,
}

/// `GET /api/me`: whether a token is still known, which after a restart none is.
pub(crate) async fn me(State(users): State<Users>, Query(who): Query<Who>) -> Response {
    match users.authenticate(&who.token) {
        Some(user) => Json(user).into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in(username: &str, admin_code: &str) -> Result<Role, &'static str> {
        let login = Login { username: username.into(), admin_code: admin_code.into() };
        let users = Users::new("secret".into());
        let (token, user) = users.sign_in(&login)?;
        assert_eq!(users.authenticate(&token).map(|known| known.id), Some(user.id));
        Ok(user.role)
    }

    #[test]
    fn a_name_is_enough_and_the_code_makes_an_admin() {
        assert_eq!(sign_in(" ada ", ""), Ok(Role::Member));
        assert_eq!(sign_in("ada", "secret"), Ok(Role::Admin));
        assert_eq!(sign_in("ada", "guess"), Err("That is not the admin code."));
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(sign_in("  ", ""), Err("Please enter a name."));
        assert!(sign_in(&"é".repeat(24), "").is_ok());
        assert!(sign_in(&"é".repeat(25), "").is_err());
    }

    #[test]
    fn an_unknown_token_is_nobodys() {
        assert!(Users::new(String::new()).authenticate("x").is_none());
    }
}
