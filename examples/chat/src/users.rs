//! Users: a name is enough to sign in, a code makes an admin. A real application asks its database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest name, in characters.
const MAX_NAME: usize = 24;

/// The most sign-ins in memory. Beyond that the oldest is dropped, and its page signs in again by itself.
const REMEMBERED: usize = 10_000;

/// A user that has signed in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) role: Role,
}

/// The role of a user, which decides about its rights.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// May send messages.
    Member,
    /// May also remove others.
    Admin,
}

/// A request to sign in.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignIn {
    username: String,
    #[serde(default)]
    admin_code: String,
}

/// The users that have signed in since the start. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    admin_code: Arc<str>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    by_token: HashMap<String, User>,
    oldest_first: VecDeque<String>,
}

impl Users {
    pub(crate) fn new(admin_code: &str) -> Users {
        Users { admin_code: admin_code.into(), known: Arc::default() }
    }

    /// Creates a user, and returns it with its token. The error is a text for the user.
    pub(crate) fn sign_in(&self, request: &SignIn) -> Result<(String, User), &'static str> {
        let username = checked_name(&request.username)?;
        let role = match &*request.admin_code {
            "" => Role::Member,
            code if *code == *self.admin_code => Role::Admin,
            _ => return Err("That is not the admin code."),
        };
        let user = User { id: Uuid::new_v4().to_string(), username: username.to_owned(), role };
        let token = Uuid::new_v4().to_string();
        self.known().remember(token.clone(), user.clone());
        Ok((token, user))
    }

    /// Returns the user of a token.
    pub(crate) fn authenticate(&self, token: &str) -> Option<User> {
        self.known().by_token.get(token).cloned()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remember(&mut self, token: String, user: User) {
        if self.oldest_first.len() == REMEMBERED {
            let oldest = self.oldest_first.pop_front();
            oldest.and_then(|token| self.by_token.remove(&token));
        }
        self.oldest_first.push_back(token.clone());
        self.by_token.insert(token, user);
    }
}

fn checked_name(name: &str) -> Result<&str, &'static str> {
    let name = name.trim();
    if name.is_empty() {
        return Err("Please enter a name.");
    }
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err("A name has at most 24 ordinary characters.");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in(username: &str, admin_code: &str) -> Result<Role, &'static str> {
        let users = Users::new("secret");
        let (token, user) = users.sign_in(&SignIn { username: username.into(), admin_code: admin_code.into() })?;
        assert_eq!(users.authenticate(&token), Some(user.clone()));
        Ok(user.role)
    }

    #[test]
    fn a_user_needs_a_name_and_an_admin_the_code() {
        assert_eq!(sign_in(" ada ", ""), Ok(Role::Member));
        assert_eq!(sign_in("ada", "secret"), Ok(Role::Admin));
        assert_eq!(sign_in("ada", "guess"), Err("That is not the admin code."));
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(sign_in("  ", ""), Err("Please enter a name."));
        assert!(sign_in(&"é".repeat(24), "").is_ok());
        assert!(sign_in(&"é".repeat(25), "").is_err());
        assert!(sign_in("a\nb", "").is_err());
    }

    #[test]
    fn an_unknown_token_has_no_user() {
        assert!(Users::new("").authenticate("x").is_none());
    }

    #[test]
    fn the_oldest_sign_in_expires_first() {
        let users = Users::new("");
        let sign_in = || users.sign_in(&SignIn { username: "ada".into(), admin_code: String::new() });
        let (oldest, next) = (sign_in().expect("a name"), sign_in().expect("a name"));
        for _ in 2..=REMEMBERED {
            sign_in().expect("a name");
        }
        assert_eq!(users.authenticate(&oldest.0), None);
        assert_eq!(users.authenticate(&next.0), Some(next.1));
    }
}
