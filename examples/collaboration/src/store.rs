//! The documents in SQLite: each is a list of changes, which are merged from time to time.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Result, params};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS changes (
        number INTEGER PRIMARY KEY,
        document TEXT NOT NULL,
        change BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS changes_by_document ON changes (document);
";

/// The database. Its methods block on the disk: tasks have to call them in `spawn_blocking`.
#[derive(Debug)]
pub(crate) struct Store(Mutex<Connection>);

impl Store {
    pub(crate) fn open(file: &Path) -> Result<Store> {
        let connection = Connection::open(file)?;
        // A committed change survives a crash of the process at once, and a loss of power from the next checkpoint on.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Store(Mutex::new(connection)))
    }

    /// Returns all changes of a document; none, if there is no such document.
    pub(crate) fn changes(&self, document: &str) -> Result<Vec<Vec<u8>>> {
        let connection = self.connection();
        let mut found = connection.prepare("SELECT change FROM changes WHERE document = ? ORDER BY number")?;
        found.query_map([document], |row| row.get(0))?.collect()
    }

    /// Adds a change to a document.
    pub(crate) fn add(&self, document: &str, change: &[u8]) -> Result<()> {
        let added = "INSERT INTO changes (document, change) VALUES (?, ?)";
        self.connection().execute(added, params![document, change]).map(drop)
    }

    /// Replaces all changes of a document by one.
    pub(crate) fn replace(&self, document: &str, whole: &[u8]) -> Result<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM changes WHERE document = ?", [document])?;
        transaction.execute("INSERT INTO changes (document, change) VALUES (?, ?)", params![document, whole])?;
        transaction.commit()
    }

    /// Counts the documents.
    pub(crate) fn count(&self) -> Result<u32> {
        self.connection().query_row("SELECT count(DISTINCT document) FROM changes", [], |row| row.get(0))
    }

    /// Locks the database. It stays in use after a panic, because SQLite rolls an unfinished transaction back.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_there_when_the_database_is_opened_again() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("documents.sqlite");
        let store = Store::open(&file)?;
        store.add("a", b"1")?;
        store.add("b", b"other")?;
        store.add("a", b"2")?;
        drop(store);
        let store = Store::open(&file)?;
        assert_eq!(store.changes("a")?, [b"1", b"2"]);
        store.replace("a", b"12")?;
        assert_eq!(store.changes("a")?, [b"12"]);
        assert_eq!(store.changes("b")?, [b"other"]);
        assert_eq!((store.changes("c")?.len(), store.count()?), (0, 2));
        Ok(())
    }
}
