"""What MkDocs needs beyond `mkdocs.yml`: pages outside `docs/`, and the list of decisions.

The home page is the project's README; CONTRIBUTING, CHANGELOG and the examples' pages join it, with their links to
`docs/` made to fit. Files of the project that are not pages are shown by name instead of as a link.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

TOP = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#]+)(#[^)]*)?\)")


def on_config(config: MkDocsConfig) -> None:
    """The decisions, in the order of their numbers."""
    for entry in config.nav or ():
        if isinstance(entry, dict) and "Decisions" in entry:
            pages = sorted((TOP / "docs/decisions").glob("[0-9]*.md"))
            entry["Decisions"] += [f"decisions/{page.name}" for page in pages]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """The pages outside `docs/`."""
    examples = {str(path.relative_to(TOP)) for path in (TOP / "examples").glob("**/README.md")}
    pages = PAGES | {path: path for path in examples}
    for source, target in sorted(pages.items()):
        text = (TOP / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=_relinked(text, Path(source).parent, pages)))


def _relinked(text: str, folder: Path, pages: dict[str, str]) -> str:
    """`text` with links as they are in the site, whose root is `docs/`."""

    def link(found: re.Match[str]) -> str:
        shown, target, anchor = found[1], found[2], found[3] or ""
        path = (folder / target).as_posix()
        if path.startswith("docs/") and path.endswith(".md"):
            return f"[{shown}]({'../' * len(folder.parts)}{path.removeprefix('docs/')}{anchor})"
        if path in pages:
            return f"[{shown}]({'../' * len(folder.parts)}{pages[path]}{anchor})"
        return f"`{shown}`"

    return LINK.sub(link, text)
