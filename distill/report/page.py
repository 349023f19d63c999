"""Renders the gathered records as one HTML page, in which no script but ours can run, and which loads and sends nothing."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2

from distill.report import numbers, words
from distill.report.embed import blocks
from distill.report.summary import summary

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("dom.js", "records.js", "filters.js", "list.js", "reader.js", "keys.js", "page.js")


def page(report: dict[str, Any]) -> bytes:
    """The whole page in UTF-8. Text of the records is escaped in it, or JSON that is never parsed as HTML."""
    style = _asset("page.css") + _asset("browser.css")
    script = '"use strict";\n' + "\n".join(_asset(name) for name in SCRIPTS)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        name: getattr(numbers, name) for name in ("percent", "interval", "count", "milliseconds", "usd", "place")
    }
    safe = jinja2.filters.Markup
    thoughts_learned = report["training"]["thoughts_learned"] if report["training"] else None
    found = summary(report)
    content = environment.get_template("page.html").render(
        report=report,
        **found,
        words=words,
        numbers=numbers,
        style=safe(style),
        script=safe(script),
        policy=policy(style, script),
        blocks={
            name: safe(text) for name, text in blocks(report["conversations"], found["keys"], thoughts_learned).items()
        },
    )
    return content.encode()


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy: this style and this script by hash, and nothing else, from nowhere."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
