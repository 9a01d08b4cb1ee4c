//! The import graph of a crate's source files, read from their text: `use` declarations, and paths in code that begin with
//! `crate`, `super` or a child module. Tests at the end of a file do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The path of a module below the crate's root, such as `["engine", "live"]`.
type Module = Vec<String>;

/// An import of one name.
struct Import {
    path: Vec<String>,
    /// The name that it has in the importing file.
    name: String,
    is_reexport: bool,
}

/// The names that a source file imports, and those that its code mentions.
#[derive(Default)]
struct Source {
    imports: Vec<Import>,
    /// Paths in code, relative to the crate's root.
    paths: Vec<Vec<String>>,
    words: BTreeSet<String>,
}

/// The source files of a crate, and for each the files that it imports from.
pub(crate) struct Imports {
    sources: BTreeMap<Module, Source>,
}

impl Imports {
    /// Reads all files below `root`, which is a crate's `src`.
    pub(crate) fn read(root: &Path) -> Imports {
        let files: Vec<_> = super::sources(root).into_iter().map(|file| (module(root, &file), file)).collect();
        let modules: BTreeSet<_> = files.iter().map(|(module, _)| module.clone()).collect();
        let read = |(module, file): (Module, _)| {
            let text = without_tests(&fs::read_to_string(file).expect("a text file"));
            let source = Source::parse(&module, &modules, &tokens(&text));
            (module, source)
        };
        Imports { sources: files.into_iter().map(read).collect() }
    }

    /// Pairs of files, the first of which imports from the second. A re-export counts where the file uses the name itself.
    pub(crate) fn edges(&self) -> BTreeSet<(String, String)> {
        let mut edges = BTreeSet::new();
        for (module, source) in &self.sources {
            let used =
                source.imports.iter().filter(|import| !import.is_reexport || source.words.contains(&import.name));
            for path in used.map(|import| &import.path).chain(&source.paths) {
                let owner = self.owner(path, 0);
                if owner != *module {
                    edges.insert((module.join("/"), owner.join("/")));
                }
            }
        }
        edges
    }

    /// The file in which the item at this path stands; re-exports are followed.
    fn owner(&self, path: &[String], depth: usize) -> Module {
        let length =
            (0..=path.len()).rev().find(|length| self.sources.contains_key(&path[..*length])).expect("the root");
        let (module, rest) = path.split_at(length);
        let reexport = self.sources[module].imports.iter().find(|import| Some(&import.name) == rest.first());
        match reexport {
            Some(import) if depth < 8 => self.owner(&[&import.path, &rest[1..]].concat(), depth + 1),
            _ => module.to_vec(),
        }
    }
}

impl Source {
    fn parse(module: &Module, modules: &BTreeSet<Module>, tokens: &[&str]) -> Source {
        let mut source = Source::default();
        let before = |at: usize, back: usize| at.checked_sub(back).map(|at| tokens[at]);
        let mut at = 0;
        while at < tokens.len() {
            // `impl Trait + use<T>` captures, and imports nothing.
            if tokens[at] == "use" && tokens.get(at + 1) != Some(&"<") {
                let is_reexport = before(at, 1) == Some("pub") || before(at, 1) == Some(")");
                let end = at + tokens[at..].iter().position(|token| *token == ";").expect("the end of the declaration");
                for (path, name) in tree(&tokens[at + 1..end]) {
                    let path = absolute(module, modules, &path);
                    source.imports.extend(path.map(|path| Import { path, name, is_reexport }));
                }
                at = end;
            } else if tokens.get(at + 1) == Some(&"::") && before(at, 1) != Some("::") {
                let mut path = vec![tokens[at]];
                while tokens.get(at + 1) == Some(&"::") && tokens.get(at + 2).is_some_and(|token| is_word(token)) {
                    path.push(tokens[at + 2]);
                    at += 2;
                }
                source.words.insert(path[0].to_owned());
                // `pub(in crate::engine)` imports nothing.
                let names_a_scope =
                    before(at, 2 * path.len() - 1) == Some("in") && before(at, 2 * path.len()) == Some("(");
                if !names_a_scope {
                    source.paths.extend(absolute(module, modules, &path));
                }
            } else {
                source.words.insert(tokens[at].to_owned());
            }
            at += 1;
        }
        source
    }
}

/// The module that a file is.
fn module(root: &Path, file: &Path) -> Module {
    let path = file.strip_prefix(root).expect("below the root").with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

/// The text before the tests at its end.
pub(crate) fn without_tests(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let starts = |two: &[&str]| two[0].trim_start().starts_with("#[cfg(") && two[0].contains("test");
    let tests = lines.windows(2).position(|two| starts(two) && two[1].trim_start().starts_with("mod tests {"));
    lines[..tests.unwrap_or(lines.len())].join("\n")
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}

/// Words, `::`, and all other characters one by one; comments and literals of text are left out.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(rest) {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
            continue;
        } else if rest.starts_with("'\"'") {
            3
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c: char| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            rest = &rest[end.expect("the end of a literal") + 2..];
            continue;
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(&rest[..length]);
        }
        rest = &rest[length..];
    }
    tokens
}

/// The paths in a `use` declaration, each with the name that it gives.
fn tree<'a>(tokens: &[&'a str]) -> Vec<(Vec<&'a str>, String)> {
    let Some(open) = tokens.iter().position(|token| *token == "{") else {
        let (path, alias) = match tokens.iter().position(|token| *token == "as") {
            Some(at) => (&tokens[..at], tokens.get(at + 1)),
            None => (tokens, None),
        };
        let path: Vec<_> = path.iter().copied().filter(|token| *token != "::").collect();
        let own = path.iter().rev().find(|token| **token != "self").copied();
        return vec![(path, alias.copied().or(own).unwrap_or_default().to_owned())];
    };
    let prefix = &tokens[..open];
    let close = tokens.iter().rposition(|token| *token == "}").expect("the end of the group");
    let (mut depth, mut found) = (0, Vec::new());
    let branches = tokens[open + 1..close].split(|token| {
        depth += i32::from(*token == "{") - i32::from(*token == "}");
        depth == 0 && *token == ","
    });
    for branch in branches.filter(|branch| !branch.is_empty()) {
        found.extend(tree(&[prefix, branch].concat()));
    }
    found
}

/// The path from the crate's root; `None` if it leads out of the crate.
fn absolute(module: &Module, modules: &BTreeSet<Module>, path: &[&str]) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|part| **part == "super").count();
    let (mut base, rest) = match path[0] {
        "crate" => (Vec::new(), &path[1..]),
        "self" => (module.clone(), &path[1..]),
        "super" => (module[..module.len().checked_sub(supers)?].to_vec(), &path[supers..]),
        first => {
            let child = [module.as_slice(), &[first.to_owned()]].concat();
            modules.contains(&child).then(|| (module.clone(), path))?
        }
    };
    base.extend(rest.iter().filter(|part| !["self", "*"].contains(part)).map(|part| (*part).to_owned()));
    Some(base)
}
