//! The Rust client of the book's page on clients, which `book/tests/pages` puts into a file of its own.

include!(env!("BOOK_CLIENT"));
