//! Links in the built book, and in the pages of the repository.

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
fn links_in_the_book_have_targets() {
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
        // 404.html is served at any path, so its relative links cannot be checked. print.html repeats all other pages.
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

/// The Markdown files of the repository, including the pages of the book.
fn texts() -> Vec<PathBuf> {
    fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                into.push(path);
            }
        }
    }
    let mut texts = Vec::new();
    collect(&home(), &mut texts);
    texts
}

/// The anchors of a text, as GitHub makes them of its headings.
fn anchors(text: &str) -> HashSet<String> {
    let mut anchors = HashSet::new();
    let mut in_block = false;
    for line in text.lines() {
        in_block ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        if in_block || heading.len() == line.len() {
            continue;
        }
        let kept = heading.trim().to_lowercase();
        let anchor: String = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let repeated = (1..).map(|number| format!("{anchor}-{number}"));
        let free = std::iter::once(anchor.clone()).chain(repeated).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

#[test]
fn links_between_the_texts_lead_to_files_and_headings() {
    let (mut broken, mut checked) = (Vec::new(), 0);
    for text in texts() {
        let folder = text.parent().unwrap_or(Path::new(""));
        let content = fs::read_to_string(&text).expect("a text");
        let inline = content.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let references = content.lines().filter(|line| line.starts_with('[')).filter_map(|line| line.split_once("]: "));
        for link in inline.chain(references.map(|(_, link)| link)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { text.clone() } else { folder.join(file) };
            let is_text = file.extension().is_some_and(|extension| extension == "md");
            let leads_somewhere = file.exists()
                && (anchor.is_empty()
                    || !is_text
                    || anchors(&fs::read_to_string(&file).expect("a text")).contains(anchor));
            if !leads_somewhere {
                broken.push(format!("{}: {link}", text.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(checked > 300, "only {checked} links");
}
