"""Credentials: where they are read from, and how they are kept out of everything that is written or sent."""

import json
import os
import re
from base64 import b64encode
from functools import cache
from typing import Any
from urllib.parse import quote, unquote

import re2
from dotenv import dotenv_values, find_dotenv

SECRET = ("OPENAI_API_KEY", "TEACHER_API_KEY", "JUDGE_API_KEY", "STUDENT_API_KEY", "HF_TOKEN")
ALLOWED = (*SECRET, "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
"""The only names that are looked up. OPENAI_ORG_ID and OPENAI_PROJECT_ID are not secret."""
SHORTEST = 8
"""Shorter values are placeholders such as `none`; replacing them would damage ordinary text."""
LONGEST = 10_000
"""Characters of what is known by its format, at most; a private key is hidden from its first line on."""
REPLACED = "[secret]"

ESCAPE = re.compile(r"\\(?:[nrtbf]|u[0-9A-Fa-f]{4})|%[0-9A-Fa-f]{2}")
"""What JSON text and addresses have for some characters. Its letters belong to no word behind it: `\\nsk-...` holds a key,
and so does `key%3Dsk-...`."""
BEGIN = rf"(?:\b|{ESCAPE.pattern})"
"""Where a word begins, in plain text, JSON and addresses."""

# Formats that only credentials have: a session token that a tool issues for its own next call matches none of them.
FORMATS = {
    # OpenAI, Anthropic and their like; a long part without a hyphen sets them apart from a web page's `sk-some-words`
    "api_key": BEGIN + r"sk-[A-Za-z0-9_-]*[A-Za-z0-9]{20,}[A-Za-z0-9_-]*",
    "github": r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,}",
    "gitlab": BEGIN + r"glpat-[A-Za-z0-9_-]{20,}",
    "hugging_face": BEGIN + r"hf_[A-Za-z0-9]{30,}",
    "aws": BEGIN + r"(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "google": BEGIN + r"AIza[A-Za-z0-9_-]{35}",
    "slack": r"xox[abposr]-[A-Za-z0-9-]{20,}|hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{20,}",
    "stripe": BEGIN + r"[rs]k_live_[A-Za-z0-9]{20,}",
    "npm": BEGIN + r"npm_[A-Za-z0-9]{36}\b",
    "sendgrid": BEGIN + r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "private_key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
}
KNOWN = re2.compile("|".join(f"(?P<{name}>{form})" for name, form in FORMATS.items()))
"""All formats in one RE2 alternation: linear in the text, and fast enough to search every row."""

PROXY_LOGIN = re.compile(r"([^/@:]*):([^/@]+)(?=@)")
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_expanded: set[str] = set()


def missing(text: str) -> list[str]:
    """The names of all `${NAME}` in `text` that neither the environment nor `.env` has."""
    return [name for name in REFERENCE.findall(text) if not (os.environ.get(name) or _file().get(name))]


def expand(text: str) -> str:
    """`text` with each `${NAME}` replaced by its value, which `redact` hides from now on."""

    def value(match: re.Match[str]) -> str:
        secret = os.environ.get(match[1]) or _file().get(match[1]) or ""
        if len(secret) >= SHORTEST:
            _expanded.update({secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]})
        return secret

    return REFERENCE.sub(value, text)


def get(name: str) -> str | None:
    """A value from the environment, else from `.env` in this folder or one above; the environment is not changed.

    DVC's temporary folders for experiments lie below the project, so they find its `.env`, too.
    """
    if name not in ALLOWED:
        raise ValueError(f"{name} is not one of the names that may be read: {', '.join(ALLOWED)}")
    return (os.environ.get(name) or _file().get(name) or "").strip() or None


def redact(text: str) -> str:
    """`text` with every key of this run, and whatever looks like a credential, replaced by `[secret]`, and with `?` for
    what UTF-8 cannot hold (half an emoji, a file name in another encoding)."""
    text = text.encode("utf-8", "replace").decode()
    for value in (*sorted(_expanded, key=len, reverse=True), *_own()):
        text = text.replace(value, REPLACED)
    return KNOWN.sub(_hidden, text)


def longest() -> int:
    """Characters of the longest credential that `redact` hides: in a text that is cut, it may lose so many and be missed."""
    return max([LONGEST, *map(len, (*_expanded, *_own()))])


def _hidden(found: Any) -> str:
    """What takes the place of a credential; an escape before it stays."""
    escape = ESCAPE.match(found.group())
    return f"{escape[0] if escape else ''}{REPLACED}"


def _proxy_logins() -> set[str]:
    """`user:password` of every proxy in the environment, the password alone, and the base64 form sent in a header."""
    logins: set[str] = set()
    for name, value in os.environ.items():
        login = PROXY_LOGIN.search(value) if name.lower().endswith("_proxy") else None
        if login:
            logins |= {login[0], login[2], b64encode(unquote(login[0]).encode()).decode()}
    return logins


@cache
def _file() -> dict[str, str | None]:
    return dotenv_values(find_dotenv(usecwd=True))


@cache
def _own() -> tuple[str, ...]:
    values = {get(name) or "" for name in SECRET} | _proxy_logins()
    return tuple(sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True))
