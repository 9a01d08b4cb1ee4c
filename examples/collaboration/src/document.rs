//! One document: the changes of all members, merged by a CRDT (`yrs`), bounded, and stored before they are broadcast.

use std::sync::{Arc, Mutex, MutexGuard};

use pondsocket::{Error, Result};
use serde_json::json;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{Doc, ReadTxn, StateVector, Transact, Update, WriteTxn};

use crate::store::Store;

/// The largest document, in bytes with the metadata of the CRDT. It fits into one message.
pub(crate) const MAX_SIZE: usize = 256 * 1024;

/// The number of changes after which the database has one merged change instead.
const COMPACT_AFTER: usize = 200;

/// A document in memory. Its methods block on the disk and on a lock: tasks have to call them in `spawn_blocking`.
#[derive(Debug)]
pub(crate) struct Document {
    name: String,
    store: Arc<Store>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    doc: Doc,
    /// An upper bound of the size in bytes. The exact size is computed only when the document may be too large.
    size: usize,
    /// The number of its changes in the database.
    stored: usize,
    /// True if the database lacks a change. The whole document is stored then.
    is_behind: bool,
}

/// The answer to the state of a page.
#[derive(Debug)]
pub(crate) struct Synced {
    /// The changes that the page lacks.
    pub(crate) change: Vec<u8>,
    /// The state vector of the server: the page sends the changes that are not in it.
    pub(crate) vector: Vec<u8>,
    pub(crate) size: usize,
}

/// The effect of a change.
#[derive(Debug)]
pub(crate) struct Changed {
    /// True if the server did not have the change before.
    pub(crate) is_new: bool,
    /// The size of the document, in bytes, or a little more.
    pub(crate) size: usize,
}

impl Document {
    pub(crate) fn load(name: &str, store: &Arc<Store>) -> Result<Document> {
        let held = Mutex::new(Held::load(name, store)?);
        Ok(Document { name: name.to_owned(), store: Arc::clone(store), held })
    }

    /// Returns whether nothing of the document is stored yet.
    pub(crate) fn is_new(&self) -> bool {
        self.held().is_ok_and(|held| held.stored == 0)
    }

    /// Applies a change, and stores it.
    ///
    /// # Errors
    /// 400 if it is malformed; 409 if it depends on a change that the server lacks, which a sync brings; 413 if the document
    /// would be larger than [`MAX_SIZE`]; 500 if it cannot be stored.
    pub(crate) fn change(&self, change: &[u8]) -> Result<Changed> {
        let mut held = self.held()?;
        let was_behind = held.is_behind;
        if !held.apply(change)? {
            return Ok(Changed { is_new: false, size: held.size });
        }
        if was_behind || held.stored >= COMPACT_AFTER {
            held.save_whole(&self.name, &self.store)?;
        } else {
            held.save(change, &self.name, &self.store)?;
        }
        Ok(Changed { is_new: true, size: held.size })
    }

    /// Returns the changes that are not in a state vector.
    ///
    /// # Errors
    /// 400 if the vector is malformed.
    pub(crate) fn sync(&self, vector: &[u8]) -> Result<Synced> {
        let theirs = StateVector::decode_v1(vector).map_err(|_| Error::bad_request("no state vector"))?;
        let held = self.held()?;
        let transaction = held.doc.transact();
        let change = transaction.encode_state_as_update_v1(&theirs);
        Ok(Synced { change, vector: transaction.state_vector().encode_v1(), size: held.size })
    }

    /// Locks the document. After a panic in `yrs` it is loaded again, because the change that caused it is not stored.
    fn held(&self) -> Result<MutexGuard<'_, Held>> {
        self.held.lock().or_else(|poisoned| {
            let mut held = poisoned.into_inner();
            *held = Held::load(&self.name, &self.store)?;
            self.held.clear_poison();
            Ok(held)
        })
    }
}

impl Held {
    fn load(name: &str, store: &Store) -> Result<Held> {
        let changes = store.changes(name).map_err(Error::internal)?;
        let doc = Doc::new();
        let mut transaction = doc.transact_mut();
        for change in &changes {
            let update = Update::decode_v1(change).map_err(Error::internal)?;
            transaction.apply_update(update).map_err(Error::internal)?;
        }
        drop(transaction);
        let mut held = Held { doc, size: 0, stored: changes.len(), is_behind: false };
        held.size = held.whole().len();
        Ok(held)
    }

    /// Applies a change. Returns true if there was anything new in it.
    fn apply(&mut self, change: &[u8]) -> Result<bool> {
        let malformed = || Error::bad_request("no change of a document");
        let update = Update::decode_v1(change).map_err(|_| malformed())?;
        let adds = !update.insertions(true).is_empty();
        self.make_room(change.len(), adds)?;

        let mut transaction = self.doc.transact_mut();
        let known = transaction.state_vector();
        if update.state_vector_lower().iter().any(|(client, clock)| *clock > known.get(client)) {
            return Err(gap());
        }
        // From here on the change may be applied in part.
        let was_behind = std::mem::replace(&mut self.is_behind, true);
        transaction.apply_update(update).map_err(|_| malformed())?;
        if transaction.has_missing_updates() {
            // Not kept as pending: the changes that it depends on may never come.
            transaction.prune_pending();
            return Err(gap());
        }
        let is_new = transaction.state_vector() != known || !transaction.delete_set().is_empty();
        if is_new {
            self.size += change.len();
        } else {
            self.is_behind = was_behind;
        }
        Ok(is_new)
    }

    /// Refuses a change that would make the document too large. One that only deletes is accepted up to twice that size.
    fn make_room(&mut self, more: usize, adds: bool) -> Result<()> {
        let most = if adds { MAX_SIZE } else { 2 * MAX_SIZE };
        if self.size + more > most {
            self.size = self.whole().len();
        }
        if self.size + more > most {
            let details = json!({ "size": self.size, "change": more, "max": MAX_SIZE });
            return Err(Error::too_large("the document is full").with_details(&details));
        }
        Ok(())
    }

    fn save(&mut self, change: &[u8], name: &str, store: &Store) -> Result<()> {
        store.add(name, change).map_err(Error::internal)?;
        self.stored += 1;
        self.is_behind = false;
        Ok(())
    }

    fn save_whole(&mut self, name: &str, store: &Store) -> Result<()> {
        let whole = self.whole();
        store.replace(name, &whole).map_err(Error::internal)?;
        (self.size, self.stored, self.is_behind) = (whole.len(), 1, false);
        Ok(())
    }

    fn whole(&self) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(&StateVector::default())
    }
}

fn gap() -> Error {
    Error::conflict("it builds on changes that are not here: sync first")
}

#[cfg(test)]
mod tests {
    use yrs::{GetString, Text};

    use super::*;

    /// A page: it has a document of its own.
    struct Page(Doc);

    impl Page {
        /// Writes at a position, and gives the change.
        fn writes(&self, at: u32, text: &str) -> Vec<u8> {
            let mut transaction = self.0.transact_mut();
            let shared = transaction.get_or_insert_text("text");
            shared.insert(&mut transaction, at, text);
            transaction.encode_update_v1()
        }

        fn erases(&self, at: u32, length: u32) -> Vec<u8> {
            let mut transaction = self.0.transact_mut();
            let shared = transaction.get_or_insert_text("text");
            shared.remove_range(&mut transaction, at, length);
            transaction.encode_update_v1()
        }

        /// Gets what it lacks, and sends what the server lacks.
        fn syncs(&self, document: &Document) {
            let vector = self.0.transact().state_vector().encode_v1();
            let synced = document.sync(&vector).expect("a vector");
            let theirs = StateVector::decode_v1(&synced.vector).expect("a vector");
            let mine = self.0.transact().encode_state_as_update_v1(&theirs);
            let update = Update::decode_v1(&synced.change).expect("a change");
            self.0.transact_mut().apply_update(update).expect("a change that fits");
            document.change(&mine).expect("a change that fits");
        }

        fn text(&self) -> String {
            let transaction = self.0.transact();
            transaction.get_text("text").map(|text| text.get_string(&transaction)).unwrap_or_default()
        }
    }

    struct World {
        folder: tempfile::TempDir,
        store: Arc<Store>,
    }

    impl World {
        fn new() -> World {
            let folder = tempfile::tempdir().expect("a folder");
            let store = Arc::new(Store::open(&folder.path().join("test.sqlite")).expect("a database"));
            World { folder, store }
        }

        /// The document as the database has it.
        fn document(&self) -> Document {
            Document::load("notes", &self.store).expect("a document")
        }
    }

    fn text_of(document: &Document) -> String {
        let page = Page(Doc::new());
        page.syncs(document);
        page.text()
    }

    #[test]
    fn two_offline_writers_have_the_same_text_after_both_have_synced() {
        let world = World::new();
        let document = world.document();
        let (ada, bob) = (Page(Doc::new()), Page(Doc::new()));
        document.change(&ada.writes(0, "a pond")).expect("a change");
        bob.syncs(&document);
        ada.writes(2, "quiet ");
        bob.writes(6, " with frogs");
        bob.erases(0, 1);
        for page in [&ada, &bob, &ada] {
            page.syncs(&document);
        }
        assert_eq!(ada.text(), " quiet pond with frogs");
        assert_eq!(bob.text(), ada.text());
        assert_eq!(text_of(&world.document()), ada.text(), "the database has it, too");
    }

    #[test]
    fn changes_are_merged_without_loss() {
        let world = World::new();
        let document = world.document();
        let ada = Page(Doc::new());
        for at in 0..COMPACT_AFTER as u32 + 2 {
            document.change(&ada.writes(at, "x")).expect("a change");
        }
        assert_eq!(world.store.changes("notes").expect("changes").len(), 2);
        assert_eq!(text_of(&world.document()), "x".repeat(COMPACT_AFTER + 2));
    }

    #[test]
    fn a_full_document_refuses_text_and_lets_it_be_shortened() {
        let world = World::new();
        let document = world.document();
        let ada = Page(Doc::new());
        let half = "x".repeat(MAX_SIZE / 2);
        document.change(&ada.writes(0, &half)).expect("half of it");
        let refused = document.change(&Page(Doc::new()).writes(0, &half)).expect_err("too much");
        assert_eq!((refused.code(), refused.message()), (413, "the document is full"));
        assert!(refused.details().expect("details").contains(r#""max":262144"#));
        document.change(&ada.erases(0, half.len() as u32)).expect("less text");
        document.change(&ada.writes(0, &half)).expect("there is room again");
        assert_eq!(text_of(&world.document()), half);
    }

    #[test]
    fn known_changes_are_not_stored_twice() {
        let world = World::new();
        let document = world.document();
        let ada = Page(Doc::new());
        let change = ada.writes(0, "once");
        assert!(document.change(&change).expect("a change").is_new);
        document.change(&ada.erases(1, 2)).expect("a change");
        let all = ada.0.transact().encode_state_as_update_v1(&StateVector::default());
        for again in [change, all] {
            assert!(!document.change(&again).expect("a change").is_new);
        }
        assert_eq!(world.store.changes("notes").expect("changes").len(), 2);
        assert_eq!(text_of(&world.document()), "oe");
    }

    #[test]
    fn invalid_changes_change_nothing() {
        let world = World::new();
        let document = world.document();
        let ada = Page(Doc::new());
        document.change(&ada.writes(0, "text")).expect("a change");
        for wrong in [&b""[..], b"no change at all", &[255; 40]] {
            assert_eq!(document.change(wrong).expect_err("refused").code(), 400, "{wrong:?}");
        }
        assert_eq!(document.sync(&[255; 40]).expect_err("refused").code(), 400);
        assert_eq!(text_of(&world.document()), "text");
    }

    #[test]
    fn a_change_that_builds_on_one_that_is_missing_is_refused_until_it_is_there() {
        let world = World::new();
        let document = world.document();
        let ada = Page(Doc::new());
        ada.writes(0, "first ");
        let second = ada.writes(6, "second");
        assert_eq!(document.change(&second).expect_err("refused").code(), 409);
        assert_eq!(text_of(&document), "");
        ada.syncs(&document);
        assert_eq!(text_of(&document), "first second");
    }

    #[test]
    fn a_change_that_was_not_stored_is_stored_with_the_next_one() {
        let world = World::new();
        let document = world.document();
        let ada = Page(Doc::new());
        document.change(&ada.writes(0, "one ")).expect("a change");
        let other = rusqlite::Connection::open(world.folder.path().join("test.sqlite")).expect("the database");
        other.execute_batch("ALTER TABLE changes RENAME TO away").expect("out of the way");
        assert_eq!(document.change(&ada.writes(4, "two ")).expect_err("not stored").code(), 500);
        other.execute_batch("ALTER TABLE away RENAME TO changes").expect("back again");
        document.change(&ada.writes(8, "three")).expect("a change");
        assert_eq!(text_of(&world.document()), "one two three");
    }
}
