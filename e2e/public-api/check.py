#!/usr/bin/env python3
"""Names the types of dependencies in the public API of `pondsocket`, from rustdoc's JSON: check.py FILE.

Only a few crates may appear there, all of which applications use directly anyway.
"""

import json
import sys

ALLOWED = {
    "std", "core", "alloc", "pondsocket", "pondsocket_proto", "http", "http_body", "bytes", "serde", "serde_core",
    "serde_json", "tower_service", "tower_layer", "tracing", "rustls",
    # Only `AsyncRead` and `AsyncWrite`.
    "tokio",
}
TOKIO = {"tokio::io::async_read::AsyncRead", "tokio::io::async_write::AsyncWrite"}


def main(file):
    with open(file, encoding="utf-8") as text:
        docs = json.load(text)
    foreign = {}
    items = [item for item in docs["index"].values() if item["crate_id"] == 0]
    for item in items:
        for part in public_parts(item):
            for path in paths_in(part, docs):
                if path.split("::")[0] not in ALLOWED or path.startswith("tokio::") and path not in TOKIO:
                    foreign.setdefault(path, set()).add(item.get("name") or "an impl")
    for path, where in sorted(foreign.items()):
        print(f"{path} in {', '.join(sorted(where))}")
    print(f"{len(items)} items, {len(foreign)} types of dependencies")
    return 1 if foreign or len(items) < 100 else 0


def public_parts(item):
    """The public parts of an item: all of it, or the trait, type and bounds of an implementation."""
    implementation = item["inner"].get("impl")
    if not implementation:
        return [item["inner"]] if item["visibility"] in ("public", "default") else []
    if implementation.get("blanket_impl") or implementation.get("is_synthetic"):
        return []
    return [implementation["trait"] or {}, implementation["for"], implementation["generics"]]


def paths_in(part, docs):
    """The full paths of all types and traits that are named in a part of an item."""
    if isinstance(part, list):
        for inner in part:
            yield from paths_in(inner, docs)
    if isinstance(part, dict):
        known = docs["paths"].get(str(part.get("id"))) if "path" in part else None
        if known:
            yield "::".join(known["path"])
        for key, inner in part.items():
            if key not in ("docs", "links", "attrs", "span"):
                yield from paths_in(inner, docs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
