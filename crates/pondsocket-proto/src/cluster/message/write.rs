//! A writer of JSON, field by field: a message is encoded without an intermediate tree.

use crate::wire::write::{put, string};

/// The object that is being written.
pub(super) struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl ObjectWriter<'_> {
    /// Appends an object with the fields that `write` adds.
    pub(super) fn object(out: &mut Vec<u8>, write: impl FnOnce(&mut ObjectWriter<'_>)) {
        out.push(b'{');
        write(&mut ObjectWriter { out, first: true });
        out.push(b'}');
    }

    /// Adds a text.
    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.field(name, |out| string(out, text));
    }

    /// Adds a number, as an integer literal.
    pub(super) fn number(&mut self, name: &'static str, number: u64) {
        self.field(name, |out| integer(out, number));
    }

    /// Adds the text of a JSON value.
    pub(super) fn json(&mut self, name: &'static str, json: &str) {
        self.field(name, |out| put(out, &[json]));
    }

    /// Adds a field with the value that `write` appends. The name is written as it is: names in the code need no
    /// escapes.
    pub(super) fn field(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.comma();
        put(self.out, &["\"", name, "\":"]);
        write(self.out);
    }

    /// Adds a field with the value that `write` appends, under a name that may need escapes.
    pub(super) fn entry(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.comma();
        string(self.out, name);
        self.out.push(b':');
        write(self.out);
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }
}

/// Appends a list, each element as `write` writes it.
pub(super) fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Appends an integer literal.
pub(super) fn integer(out: &mut Vec<u8>, number: u64) {
    serde_json::to_writer(out, &number).expect("a number is always JSON");
}
