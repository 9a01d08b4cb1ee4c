//! The names on the pages: metrics, options, log lines and functions that they mention exist.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::{Page, home};

/// Names of other projects: settings of proxies and of Linux, callbacks and messages of Phoenix, an event of other
/// PondSocket servers.
const OF_OTHERS: [&str; 13] = [
    "TCP_USER_TIMEOUT",
    "handle_in",
    "handle_info",
    "handle_out",
    "kicked_out",
    "phx_error",
    "phx_join",
    "phx_reply",
    "presence_diff",
    "presence_state",
    "proxy_add_x_forwarded_for",
    "stop_grace_period",
    "tcp_retries2",
];

/// Endings that Prometheus adds to the names of histograms.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_count", "_sum"];

/// The words of all sources below these folders.
fn words_of(folders: &[&str], extensions: &[&str]) -> HashSet<String> {
    let mut words = HashSet::new();
    for folder in folders {
        read(&home().join(folder), extensions, &mut words);
    }
    words
}

fn read(path: &Path, extensions: &[&str], words: &mut HashSet<String>) {
    if path.is_dir() {
        let name = path.file_name().unwrap_or_default();
        if name != "target" && name != "node_modules" && name != ".venv" {
            for entry in fs::read_dir(path).expect("a folder") {
                read(&entry.expect("an entry").path(), extensions, words);
            }
        }
    } else if path.extension().is_none_or(|extension| extensions.iter().any(|one| extension == *one)) {
        // Some are not text, such as captured messages.
        let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).expect("a file");
        words.extend(words_in(&text).map(str::to_owned));
        words.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
}

fn words_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The words in code font, in the prose and the tables of a page.
fn spans(page: &Page) -> HashSet<String> {
    let mut in_block = false;
    let prose = page.text.lines().filter(|line| {
        let is_fence = line.starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    });
    let prose = prose.collect::<Vec<_>>().join("\n");
    let spans = prose.split('`').skip(1).step_by(2);
    spans.flat_map(words_in).map(str::to_owned).collect()
}

/// The strings of the file that lists the metrics.
fn metrics() -> HashSet<String> {
    let source = fs::read_to_string(home().join("crates/pondsocket-metrics/src/names.rs")).expect("the names");
    source.split('"').skip(1).step_by(2).filter(|text| text.starts_with("pondsocket_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_on_the_pages_is_one_that_the_server_exports() {
    const CRATES: [&str; 7] = ["actix", "client", "common", "metrics", "proto", "redis", "rocket"];
    let exported = metrics();
    assert!(exported.len() > 30, "only {} metrics: have they moved?", exported.len());
    let (mut missing, mut found) = (Vec::new(), 0);
    for page in Page::all() {
        for name in words_in(&page.text) {
            let Some(rest) = name.strip_prefix("pondsocket_").filter(|rest| !rest.is_empty()) else { continue };
            let base = OF_HISTOGRAMS.iter().find_map(|ending| name.strip_suffix(ending));
            if exported.contains(name) || base.is_some_and(|base| exported.contains(base)) {
                found += 1;
            } else if !CRATES.contains(&rest) {
                missing.push(format!("{}: {name}", page.name));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(found > 12, "only {found} metrics on the pages");
}

#[test]
fn every_name_in_code_font_stands_in_the_sources() {
    let known = words_of(
        &["crates", "integrations", "examples", "e2e", "bench", "ops", "templates", "test"],
        &[
            "rs", "lua", "toml", "js", "mjs", "py", "sh", "yaml", "yml", "conf", "cfg", "json", "service", "socket",
            "txt",
        ],
    );
    let (mut missing, mut checked) = (Vec::new(), 0);
    for page in Page::all() {
        for name in spans(&page).into_iter().filter(|name| name.trim_matches('_').contains('_')) {
            checked += 1;
            if !known.contains(&name) && !OF_OTHERS.contains(&&*name) {
                missing.push(format!("{}: {name}", page.name));
            }
        }
    }
    missing.sort();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(checked > 300, "only {checked} names: has the way to write them changed?");
}

/// The first cells of the rows of a table: those behind its heading.
fn first_cells<'a>(page: &'a Page, heading: &str) -> Vec<&'a str> {
    let section = page.text.split(heading).nth(1).unwrap_or_else(|| panic!("{} has no {heading:?}", page.name));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.filter_map(|row| row.trim_matches('|').split('|').next()).map(str::trim).collect()
}

#[test]
fn every_log_line_with_an_action_is_one_of_the_reference() {
    let operations = Page::read("operations");
    let logs = operations.text.split("## Logs").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the logs");
    let logged: HashSet<&str> = logs.split('`').skip(1).step_by(2).collect();
    let alerts = Page::read("alerts");
    let mut lines = Vec::new();
    for cell in first_cells(&alerts, "## Log lines") {
        lines.extend(cell.split('`').skip(1).step_by(2));
    }
    assert!(lines.len() >= 8, "only {} lines", lines.len());
    for line in lines {
        let begins = line.trim_end_matches('…').trim_end();
        assert!(logged.iter().any(|message| message.starts_with(begins)), "no log line of the reference: {line}");
    }
}

/// The texts of the log messages in the sources of the server and of its bus over Redis: the last text in the arguments
/// of a logging macro with a target.
fn logged() -> HashSet<String> {
    fn collect(path: &Path, into: &mut HashSet<String>) {
        if path.is_dir() {
            fs::read_dir(path).expect("a folder").for_each(|entry| collect(&entry.expect("an entry").path(), into));
            return;
        }
        let text = fs::read_to_string(path).expect("a source");
        for (at, _) in text.match_indices("!(") {
            // And not a span, or the question whether a level is enabled.
            const MACROS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "event"];
            if !MACROS.iter().any(|name| text[..at].ends_with(name)) {
                continue;
            }
            let arguments = text[at + 2..].trim_start();
            let Some(arguments) = arguments.strip_prefix("target: \"pondsocket::") else { continue };
            let mut depth = 1;
            let end = arguments.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            let texts: Vec<_> = arguments[..end.unwrap_or_default()].split('"').skip(2).step_by(2).collect();
            // A text with a placeholder is one of several, each of which is an argument elsewhere.
            into.extend(texts.last().filter(|text| !text.contains('{')).map(|text| (*text).to_owned()));
        }
    }
    let mut texts = HashSet::new();
    collect(&home().join("crates/pondsocket/src"), &mut texts);
    collect(&home().join("crates/pondsocket-redis/src"), &mut texts);
    texts
}

#[test]
fn the_reference_has_every_log_message_and_no_other() {
    const BY_PLACEHOLDER: [&str; 2] = ["event handler failed", "join declined"];
    let operations = Page::read("operations");
    let table = operations.text.split("| target | level: message | fields |").nth(1).expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.trim_matches('|').split('|').nth(1));
    let texts = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    // Names of types and reasons are not messages.
    let texts = texts.filter(|text| !text.contains('_') && !["RateLimit", "timeout"].contains(text));
    let listed: HashSet<String> = texts.map(str::to_owned).collect();
    let mut logged = logged();
    logged.extend(BY_PLACEHOLDER.map(str::to_owned));
    assert_eq!(listed.difference(&logged).collect::<Vec<_>>(), Vec::<&String>::new(), "nothing logs these");
    assert_eq!(logged.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "the reference lacks these");
    assert!(listed.len() > 60, "only {} messages", listed.len());
}

#[test]
fn the_lines_that_mount_a_pond_are_those_of_the_guide() {
    let (guide, page) = (Page::read("mounting"), Page::read("from-go"));
    let section = page.text.split("### In a web framework").nth(1).and_then(|rest| rest.split("\n### ").next());
    let rows: Vec<_> = section.expect("a section").lines().filter(|line| line.starts_with("| [")).collect();
    for row in &rows {
        let line = row.rsplit('`').nth(1).expect("a line of code");
        assert!(guide.text.contains(line), "docs/mounting.md has no `{line}`");
    }
    assert_eq!(rows.len(), 8);
}

/// The files of the repository, as paths with a slash in front.
fn files() -> Vec<String> {
    fn collect(folder: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || name == "target" || name == "node_modules" {
                continue;
            }
            if path.is_dir() {
                into.push(format!("{}/", path.display()));
                collect(&path, into);
            } else {
                into.push(path.display().to_string());
            }
        }
    }
    let mut files = Vec::new();
    collect(&home(), &mut files);
    files
}

#[test]
fn every_file_that_the_texts_name_is_there() {
    let files = files();
    let (mut missing, mut checked) = (Vec::new(), 0);
    for page in Page::all() {
        // A sign that is in no path separates the words.
        let words = page.text.split(|c: char| !c.is_alphanumeric() && !"_-./".contains(c));
        let names = words.map(|word| word.trim_end_matches('.').trim_start_matches("../"));
        for name in names.filter(|name| name.ends_with(".rs") && name.len() > 3 && !name.contains("..")) {
            checked += 1;
            // What a reader creates in a project of their own.
            let is_example = ["src/main.rs", "tests/chat.rs"].contains(&name);
            if !is_example && !files.iter().any(|file| file.ends_with(&format!("/{name}"))) {
                missing.push(format!("{}: {name}", page.name));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(checked > 60, "only {checked} files");
}
