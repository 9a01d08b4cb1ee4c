//! The programs of the book, taken from its pages. `cargo run -p book -- presence` runs that of docs/presence.md, on the address of
//! the page or on `BOOK_ADDRESS`; without a page it lists them.

use std::env;
use std::process::ExitCode;

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Program = fn() -> Outcome;

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

fn main() -> ExitCode {
    let page = env::args().nth(1).unwrap_or_default();
    let Some((_, run)) = PROGRAMS.iter().find(|(name, _)| *name == page) else {
        PROGRAMS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::FAILURE;
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{page}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Converts the result of a program, of any error type.
fn to_outcome<E: Into<Box<dyn std::error::Error>>>(ended: Result<(), E>) -> Outcome {
    ended.map_err(Into::into)
}

/// The address on which the programs listen.
fn address() -> String {
    env::var("BOOK_ADDRESS").unwrap_or_else(|_| "127.0.0.1:8080".to_owned())
}
