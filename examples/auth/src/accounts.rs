//! The accounts of this example. A real issuer has a database, and asks for a password.

use serde::{Deserialize, Serialize};

/// The role of an account. It decides about the rights of the account: see [`rights`](crate::rights).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Admin,
    Member,
    Guest,
}

/// An account that may sign in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) role: Role,
}

const ACCOUNTS: [Account; 3] = [
    Account { id: "ada", name: "Ada Lovelace", role: Role::Admin },
    Account { id: "bob", name: "Bob Moore", role: Role::Member },
    Account { id: "gus", name: "Gus Young", role: Role::Guest },
];

/// The account of this id.
pub(crate) fn find(id: &str) -> Option<&'static Account> {
    ACCOUNTS.iter().find(|account| account.id == id)
}
