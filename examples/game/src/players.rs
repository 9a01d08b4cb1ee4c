//! The players: a random secret of the page identifies a player, and restores the score after a reload.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pondsocket::{Error, Result};
use serde::{Deserialize, Serialize};

/// The longest name, in characters.
const MAX_NAME: usize = 20;

/// The shortest and the longest secret, in bytes.
const TOKEN: std::ops::RangeInclusive<usize> = 8..=64;

/// The number of players that are remembered. Beyond that the first one is forgotten, and would begin anew.
const REMEMBERED: usize = 10_000;

/// A player as others see it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Player {
    /// A short number, because each position is sent with it.
    pub(crate) id: String,
    pub(crate) name: String,
}

/// The players since the start. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Players(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    ids: HashMap<String, String>,
    scores: HashMap<String, u32>,
    oldest_first: VecDeque<String>,
    count: u64,
}

impl Players {
    /// Returns the player of a secret.
    ///
    /// # Errors
    /// 401 if the name or the secret is not valid.
    pub(crate) fn recognise(&self, token: &str, name: &str) -> Result<Player> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Error::unauthorized(format!("a name has 1 to {MAX_NAME} ordinary characters")));
        }
        if !TOKEN.contains(&token.len()) {
            return Err(Error::unauthorized("a token has 8 to 64 bytes"));
        }
        Ok(Player { id: self.known().id_of(token), name: name.to_owned() })
    }

    pub(crate) fn score(&self, id: &str) -> u32 {
        self.known().scores.get(id).copied().unwrap_or_default()
    }

    pub(crate) fn set_score(&self, id: &str, score: u32) {
        self.known().scores.insert(id.to_owned(), score);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn id_of(&mut self, token: &str) -> String {
        if let Some(id) = self.ids.get(token) {
            return id.clone();
        }
        if self.oldest_first.len() == REMEMBERED {
            let id = self.oldest_first.pop_front().and_then(|oldest| self.ids.remove(&oldest));
            id.and_then(|id| self.scores.remove(&id));
        }
        self.count += 1;
        let id = self.count.to_string();
        self.oldest_first.push_back(token.to_owned());
        self.ids.insert(token.to_owned(), id.clone());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_is_found_by_its_secret_and_keeps_its_score() {
        let players = Players::default();
        let id = |token, name| players.recognise(token, name).map(|player| player.id);
        let ada = id("ada's secret", "Ada").expect("a player");
        assert_ne!(ada, id("bob's secret", "Ada").expect("a player"));
        players.set_score(&ada, 7);
        assert_eq!(players.score(&id("ada's secret", " Countess ").expect("a player")), 7);
    }

    #[test]
    fn names_and_secrets_are_checked() {
        let players = Players::default();
        assert!(players.recognise("12345678", &"é".repeat(MAX_NAME)).is_ok());
        for (token, name) in [("12345678", " "), ("12345678", "a\nb"), ("1234567", "Ada")] {
            assert_eq!(players.recognise(token, name).expect_err("refused").code(), 401);
        }
        assert!(players.recognise("12345678", &"é".repeat(MAX_NAME + 1)).is_err());
    }

    #[test]
    fn the_oldest_player_is_forgotten_first() {
        let players = Players::default();
        let id = |number: usize| players.recognise(&format!("secret {number}"), "Ada").expect("a player").id;
        let (first, second) = (id(0), id(1));
        players.set_score(&first, 5);
        (2..=REMEMBERED).for_each(|number| drop(id(number)));
        assert_eq!(id(1), second);
        assert_eq!(players.score(&first), 0);
    }
}
