"""What mkdocs does not do itself: pages outside docs/, formulas as MathML, tables of parts, links as on the disk."""

from __future__ import annotations

import ast
import html
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from metaft.tables import TABLES

ROOT = Path(__file__).parents[2]
PROJECT = ("CONTRIBUTING.md", "CHANGELOG.md")
RESULTS = [f"{stem}.md" for stem in sorted(path.stem for path in (ROOT / "results").glob("*.md"))]

_LINK = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?(\))")
_FORMULA = re.compile(r'<(div|span) class="arithmatex">(?:\\\(|\\\[)(.*?)(?:\\\)|\\\])</\1>', re.DOTALL)
_INTERVAL = re.compile(r"(?<=\d) ± (?=[\d.≤])")
_GENERATED = re.compile(r"^<!-- (\w+)(?:: ([\w ,]+))? -->$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages that lie elsewhere to the navigation."""
    config.nav = [
        *(config.nav or []),
        {"Results": [{"All pages": "results.md"}, *({_short(name): f"results/{name}"} for name in RESULTS)]},
        {"The project": list(PROJECT)},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of results/, with their pictures and numbers, and the project's own."""
    for path in [*sorted((ROOT / "results").iterdir()), *(ROOT / name for name in PROJECT)]:
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated; links that are right in the repository become right on the site."""
    inside = page.file.src_uri.startswith("results/") or page.file.src_uri in PROJECT
    here = page.file.src_uri if inside else f"docs/{page.file.src_uri}"

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[2])).removeprefix("docs/")
        if files.get_file_from_path(target) is None:
            return found[0]
        there = posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        return f"{found[1]}{there}{found[3] or ''}{found[4]}"

    markdown = _GENERATED.sub(lambda found: GENERATED[found[1]](found[2] or ""), markdown)
    return _LINK.sub(link, markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn formulas into MathML; a number keeps its interval on its line."""

    def formula(found: re.Match[str]) -> str:
        block = found[1] == "div"
        made = convert(html.unescape(found[2]).strip(), display="block" if block else "inline")
        return f'<div class="formula">{made}</div>' if block else made

    return _INTERVAL.sub("\u00a0±\u00a0", _FORMULA.sub(formula, content))


def _parts(kinds: str) -> str:
    """Every part of a table: its name as it is asked for, and its docstring."""
    lines: list[str] = []
    for kind in kinds.split(", "):
        table: Any = TABLES[kind]
        lines += [f"## {kind} {{ #{kind} }}", "", f"{table.what[0].upper()}{table.what[1:]}.", ""]
        for name, row in table.rows.items():
            module, _, attribute = row.partition(":")
            anchor = re.sub(r"\W+", "-", f"{kind}-{name}")
            lines += [f"### `{name}` {{ #{anchor} }}", ""]
            if node := _written(module, attribute, (ast.ClassDef, ast.FunctionDef)):
                lines += [f"::: {module}.{attribute}", "    options:"]
                lines += ["      heading_level: 4", "      show_root_toc_entry: false", ""]
            elif node := _written(module, attribute, (ast.Assign,)):  # name = made("What it is.", option=…)
                lines += [ast.literal_eval(node.value.args[0]), "", f"```python\n{ast.unparse(node)}\n```", ""]
            else:
                lines += [f"`torch.optim.{attribute}`, with its options.", ""]
    return "\n".join(lines)


def _written(module: str, attribute: str, kinds: tuple[type[ast.stmt], ...]) -> Any:
    """Where a module's source makes an attribute; None if that is done in another way."""
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        names = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        if isinstance(node, kinds) and attribute in (getattr(node, "name", ""), *names):
            return node
    return None


def _short(name: str) -> str:
    """A page of results/ in the navigation, where titles are too long and some are alike."""
    return re.sub("[-_]", " ", name.removesuffix(".md"))


def _results(_: str) -> str:
    """A line for each page of results/: its name and title."""
    titles = {name: (ROOT / "results" / name).read_text(encoding="utf-8").partition("\n")[0] for name in RESULTS}
    return "\n".join(f"- [{_short(name)}](../results/{name}): {title.lstrip('# ')}" for name, title in titles.items())


GENERATED: dict[str, Callable[[str], str]] = {"parts": _parts, "results": _results}
