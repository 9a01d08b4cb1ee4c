"""A preprocessor of mdbook: links that lead out of docs/ lead to the files of the repository.

Cargo.toml says where that is on the web. While it does not, such a link is its text and the path.
"""

import json
import re
import sys
import tomllib

OUTSIDE = re.compile(r"\[(?P<text>[^\]]*)\]\((?:\.\./)+(?P<path>[^)]*)\)")


def repository() -> str | None:
    with open("Cargo.toml", "rb") as manifest:
        return tomllib.load(manifest)["workspace"]["package"].get("repository")


def main() -> None:
    if sys.argv[1:2] == ["supports"]:
        return
    _, book = json.load(sys.stdin)
    home = repository()

    def link(match: re.Match[str]) -> str:
        text, path = match["text"], match["path"]
        if home:
            return f"[{text}]({home}/blob/main/{path})"
        file = path.split("#")[0]
        return f"`{file}`" if text.strip("`") == file else f"{text} (`{file}`)"

    def visit(items: list) -> None:
        for item in items:
            if isinstance(item, dict) and "Chapter" in item:
                chapter = item["Chapter"]
                chapter["content"] = OUTSIDE.sub(link, chapter["content"])
                visit(chapter["sub_items"])

    visit(book.get("items") or book.get("sections"))
    json.dump(book, sys.stdout)


main()
