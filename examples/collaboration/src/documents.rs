//! The documents by their names. Those with members are in memory, the others only in the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pondsocket::{Error, Result};
use tokio::task::spawn_blocking;

use crate::document::Document;
use crate::store::Store;

/// The greatest number of documents, and the longest name of one.
const MAX_DOCUMENTS: u32 = 1000;
const MAX_NAME: usize = 32;

/// All documents. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Documents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    open: Mutex<HashMap<String, Arc<Document>>>,
}

impl Documents {
    pub(crate) fn new(store: Store) -> Documents {
        Documents(Arc::new(Inner { store: Arc::new(store), open: Mutex::default() }))
    }

    /// Calls a function with a document, on a thread that may block on the disk.
    ///
    /// # Errors
    /// 404 for an invalid name, 429 if there are too many documents, and the errors of `act`.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        name: &str,
        act: impl FnOnce(&Document) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (documents, name) = (self.clone(), name.to_owned());
        spawn_blocking(move || act(&*documents.open(&name)?)).await.map_err(Error::internal)?
    }

    /// Drops a document without members from memory. All of it is stored, so it may be opened again at any time.
    pub(crate) fn close(&self, name: &str) {
        let mut open = self.in_memory();
        // Another reference means that a call uses it. If it were dropped, a second instance could be opened that lacks the
        // changes of that call.
        if open.get(name).is_some_and(|document| Arc::strong_count(document) == 1) {
            open.remove(name);
        }
    }

    fn open(&self, name: &str) -> Result<Arc<Document>> {
        if !is_name(name) {
            return Err(Error::not_found("there is no such document"));
        }
        let mut open = self.in_memory();
        if let Some(document) = open.get(name) {
            return Ok(Arc::clone(document));
        }
        let document = Arc::new(Document::load(name, &self.0.store)?);
        if document.is_new() && self.0.store.count().map_err(Error::internal)? >= MAX_DOCUMENTS {
            return Err(Error::too_many_requests(format!("there are {MAX_DOCUMENTS} documents already")));
        }
        open.insert(name.to_owned(), Arc::clone(&document));
        Ok(document)
    }

    fn in_memory(&self) -> MutexGuard<'_, HashMap<String, Arc<Document>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn documents() -> Documents {
        Documents::new(Store::open(Path::new(":memory:")).expect("a database"))
    }

    #[tokio::test]
    async fn names_are_short_words() {
        for name in ["notes", "team-7", &"a".repeat(32)] {
            documents().with(name, |_| Ok(())).await.expect(name);
        }
        for name in ["", "Notes", "a b", "é", "a/b", &"a".repeat(33)] {
            assert_eq!(documents().with(name, |_| Ok(())).await.expect_err(name).code(), 404);
        }
    }

    #[tokio::test]
    async fn a_document_in_use_stays_in_memory_and_an_unused_one_is_released() {
        let documents = documents();
        let all = documents.clone();
        documents
            .with("notes", move |_| {
                all.close("notes");
                Ok(())
            })
            .await
            .expect("a document");
        assert!(documents.in_memory().contains_key("notes"));
        documents.close("notes");
        assert!(documents.in_memory().is_empty());
    }

    #[tokio::test]
    async fn the_number_of_documents_is_limited() {
        let documents = documents();
        for number in 0..MAX_DOCUMENTS {
            documents.0.store.add(&number.to_string(), &[0, 0]).expect("stored");
        }
        assert_eq!(documents.with("new", |_| Ok(())).await.expect_err("one more").code(), 429);
        documents.with("7", |_| Ok(())).await.expect("one that is there");
    }
}
