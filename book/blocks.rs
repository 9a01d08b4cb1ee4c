/// A block of code of a page.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The line number of its first line of code.
    #[allow(dead_code)]
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) code: String,
}

/// The blocks of code of a page.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let code: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            blocks.push(Block { line: number + 2, language: language.to_owned(), code: code.join("\n") });
        }
    }
    blocks
}

/// Returns `true` for items, and `false` for statements, which need a function around them.
pub(crate) fn is_items(code: &str) -> bool {
    const BEGINNINGS: [&str; 12] =
        ["use ", "fn ", "async fn ", "pub ", "struct ", "enum ", "impl ", "const ", "static ", "#[", "///", "type "];
    BEGINNINGS.iter().any(|beginning| code.starts_with(beginning))
}
