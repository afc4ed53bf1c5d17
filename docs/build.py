"""Hooks of MkDocs, named in mkdocs.yml, and an extension of the parser of mkdocstrings.

Files of the repository that pages link to become part of the site. Pages link as the repository does
(`../bench/results/live.json`), so links work in both.
"""

import re
from pathlib import Path
from typing import Any

from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()\.\./([^)#]+)")
SECTION = re.compile(r"(?<!\n)\n(?=(Args|Attributes|Returns|Raises):\n)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    texts = [page.content_string for page in files.documentation_pages()]
    for link in {link for text in texts for link in LINK.findall(text)}:
        path = root / link / "README.md" if (root / link).is_dir() else root / link
        files.append(File.generated(config, _site_path(link), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return LINK.sub(lambda link: _site_path(link[1]), markdown)


def _site_path(link: str) -> str:
    """Path of a repository file in the site; as text, so that browsers display it."""
    return f"files/{link}.txt"


class BlankLines(Extension):
    """Adds a blank line before each section of a docstring, which the parser requires."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = SECTION.sub("\n\n", obj.docstring.value)
