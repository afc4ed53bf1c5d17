"""What the site needs besides Markdown: hooks of MkDocs, named in mkdocs.yml, and an extension of mkdocstrings' parser.

The README becomes a page, and files of the repository that pages link to become a part of the site. Pages link as the
repository does (`../bench/results/live.json`), so links work in both.
"""

import re
from pathlib import Path
from typing import Any

from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

README = "readme.md"
LINK = re.compile(r"(?<=\]\()\.\./([^)#]+)")
SECTION = re.compile(r"(?<!\n)\n(?=(Args|Attributes|Returns|Raises):\n)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    readme = re.sub(r"\]\((?!docs/|https?:|#)", "](../", (root / "README.md").read_text()).replace("](docs/", "](")
    texts = [readme, *(page.content_string for page in files.documentation_pages())]
    for link in {link for text in texts for link in LINK.findall(text)} - {"README.md"}:
        path = root / link / "README.md" if (root / link).is_dir() else root / link
        files.append(File.generated(config, _copy(link), abs_src_path=str(path)))
    files.append(File.generated(config, README, content=readme))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return LINK.sub(lambda link: README if link[1] == "README.md" else _copy(link[1]), markdown)


def _copy(link: str) -> str:
    """Where a file is in the site: as text, so that browsers show it."""
    return f"files/{link}.txt"


class BlankLines(Extension):
    """A blank line before each section of a docstring, which the parser needs and the source does without."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = SECTION.sub("\n\n", obj.docstring.value)
