//! Every link of the built book, and of the pages in the repository, leads somewhere.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::{home, target};

/// The values of an attribute in a page of HTML.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!(" {name}=\"");
    html.split(&begin).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
#[ignore = "needs the built book: ./test book"]
fn links_in_the_book_lead_somewhere() {
    let site = target().join("book");
    let mut pages = HashMap::new();
    for entry in fs::read_dir(&site).expect("mdbook has built it") {
        let path = entry.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "html") {
            pages.insert(path.clone(), fs::read_to_string(&path).expect("a page"));
        }
    }
    assert!(pages.len() > 25, "only {} pages", pages.len());
    let ids: HashMap<&PathBuf, HashSet<&str>> =
        pages.iter().map(|(path, html)| (path, attributes(html, "id").into_iter().collect())).collect();

    let (mut links, mut broken) = (0, Vec::new());
    for (page, html) in &pages {
        // The page for what is not found stands wherever it is asked for, and print.html repeats all the others.
        if page.ends_with("404.html") || page.ends_with("print.html") {
            continue;
        }
        for link in attributes(html, "href").into_iter().chain(attributes(html, "src")) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { page.clone() } else { site.join(file) };
            let is_there =
                file.exists() && (anchor.is_empty() || ids.get(&file).is_none_or(|ids| ids.contains(anchor)));
            if !is_there {
                broken.push(format!("{}: {link}", page.file_name().expect("a name").display()));
            }
        }
    }
    assert!(links > 500, "only {links} links");
    broken.sort();
    broken.dedup();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn files_that_pages_link_to_are_there() {
    let home = home();
    let mut texts: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md", "e2e/README.md"]
        .iter()
        .map(|file| home.join(file))
        .collect();
    texts.extend(fs::read_dir(home.join("docs")).expect("docs/").map(|entry| entry.expect("a file").path()));
    let mut broken = Vec::new();
    for text in texts.iter().filter(|text| text.extension().is_some_and(|extension| extension == "md")) {
        let folder = text.parent().unwrap_or(Path::new(""));
        let content = fs::read_to_string(text).expect("a text");
        for link in content.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                broken.push(format!("{}: {link}", text.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
