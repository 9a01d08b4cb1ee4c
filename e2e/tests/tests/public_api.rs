//! The public items of each published crate, compared with the listing in `e2e/public-api/`.
//!
//! `./test api` runs it, with the output of rustdoc in the folder `RUSTDOC_JSON`; `RENEW=1 ./test api` rewrites the listings.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use public_api::Builder;

const CRATES: [&str; 4] = ["pondsocket", "pondsocket_metrics", "pondsocket_proto", "pondsocket_redis"];

#[test]
#[ignore = "needs what rustdoc writes: ./test api"]
fn the_public_api_is_the_one_that_is_listed() {
    let described = std::env::var_os("RUSTDOC_JSON").expect("RUSTDOC_JSON names a folder");
    let listings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../public-api");
    let mut differences = Vec::new();
    for name in CRATES {
        let items = public_items(&Path::new(&described).join(format!("{name}.json")));
        let listing = listings.join(format!("{name}.txt"));
        if std::env::var_os("RENEW").is_some() {
            fs::write(&listing, items).expect("a place for the listing");
        } else {
            let listed = fs::read_to_string(&listing).expect("each crate has a listing");
            differences.extend(difference(&listed, &items).into_iter().map(|line| format!("{name}: {line}")));
        }
    }
    assert!(
        differences.is_empty(),
        "the public API has changed; if that is intended, update the listings with RENEW=1 ./test api:\n{}",
        differences.join("\n"),
    );
}

/// The public items of a crate, one in each line. Blanket implementations are omitted because every type has them, and `Freeze`
/// because it is internal to the compiler.
fn public_items(described: &Path) -> String {
    let api = Builder::from_rustdoc_json(described)
        .omit_blanket_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .unwrap_or_else(|error| panic!("{}: {error}", described.display()));
    let items = api.items().map(|item| format!("{item}\n"));
    items.filter(|item| !item.contains("core::marker::Freeze for")).collect()
}

/// The lines that only one of two texts has, with signs as in a patch.
fn difference(listed: &str, items: &str) -> Vec<String> {
    let (listed, items): (BTreeSet<_>, BTreeSet<_>) = (listed.lines().collect(), items.lines().collect());
    let removed = listed.difference(&items).map(|line| format!("- {line}"));
    let added = items.difference(&listed).map(|line| format!("+ {line}"));
    removed.chain(added).collect()
}
