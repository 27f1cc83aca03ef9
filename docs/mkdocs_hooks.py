"""Hooks of the documentation site (MkDocs): pages from outside `docs/`, and the API reference.

The Markdown files of the repository stay where they are and link each other by their paths in it. These hooks
give each a place on the site and rewrite its links to match. A linked file that is no page (an example
configuration, the licence) is published as it is.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGES = ("vitals", "runtime", "firmware_sim", "edge_gateway", "cloud_ingest", "lakehouse", "dashboards")
OUTSIDE = {
    "README.md": "index.md",
    "README.fr.md": "README.fr.md",
    "ARCHITECTURE.md": "ARCHITECTURE.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "cloud_ingest/SETTINGS.md": "cloud_ingest/SETTINGS.md",
    "deploy/mosquitto/README.md": "deploy/mosquitto.md",
}
"""Pages that stand elsewhere in the repository: their path there, their path on the site."""

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|<)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_config(config: MkDocsConfig) -> None:
    """Add a page for each package to the navigation."""
    assert config.nav is not None
    reference = [{name: _reference_page(name)} for name in _packages()]
    config.nav = [
        *(entry for entry in config.nav if "API reference" not in entry),
        {"API reference": reference},
    ]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages from outside `docs/`, the API reference, and the files that pages link."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for name in _packages():
        files.append(File.generated(config, _reference_page(name), content=_reference(name)))
    for source in [_source(file.src_uri) for file in files.documentation_pages()]:
        for linked in _linked_files(source):
            if files.get_file_from_path(_place(linked)) is None:
                files.append(File.generated(config, _place(linked), abs_src_path=str(ROOT / linked)))


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Rewrite links between files of the repository to links between pages of the site."""
    source = _source(page.file.src_uri)
    here = posixpath.dirname(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        target = _resolved(source, link[1])
        return posixpath.relpath(_place(target), here or ".") + (link[2] or "") if target else link[0]

    return _LINK.sub(rewritten, markdown)


def _packages() -> list[str]:
    """Every package that is documented, with a dot between the parts of its name."""
    found = (path.parent for name in PACKAGES for path in sorted((ROOT / name).rglob("__init__.py")))
    names = (".".join(path.relative_to(ROOT).parts) for path in found)
    return [name for name in names if "migrations" not in name]


def _reference_page(package: str) -> str:
    return f"reference/{package}.md"


def _reference(package: str) -> str:
    """The page of one package: itself, then its modules by name."""
    modules = sorted(path.stem for path in ROOT.joinpath(*package.split(".")).glob("*.py"))
    names = (f"{package}.{name}" for name in modules if name != "__init__")
    return f"::: {package}\n    options: {{heading_level: 1}}\n\n" + "\n\n".join(
        f"::: {name}" for name in names
    )


def _source(page: str) -> str:
    """The path in the repository of a page of the site."""
    return next((source for source, place in OUTSIDE.items() if place == page), f"docs/{page}")


def _place(source: str) -> str:
    """The path on the site of a file of the repository."""
    return OUTSIDE.get(source, source.removeprefix("docs/"))


def _resolved(source: str, link: str) -> str | None:
    """The path in the repository that a link leads to; None where there is no such file."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return target if (ROOT / target).is_file() else None


def _linked_files(source: str) -> list[str]:
    """Files of the repository that a page links and that are no pages themselves."""
    path = ROOT / source
    if not path.is_file():
        return []
    linked = (_resolved(source, link[1]) for link in _LINK.finditer(path.read_text(encoding="utf-8")))
    return [target for target in linked if target and os.path.splitext(target)[1] != ".md"]
