"""Fetches models from the Hugging Face hub: `owner/name`, or `owner/name@revision` for a commit, tag or branch."""

import re
import sys
from pathlib import Path

from distill.project import credentials
from distill.records.faults import InputError

NAME = re.compile(r"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*?)(?:@(?P<revision>[\w./-]+))?")
COPIES = ["consolidated*", "original/*"]
"""The weights once more, for the makers' own programs (Mistral, Meta)."""
SHOWN = 300
"""Characters of the hub's message that are shown."""


def names(path: str) -> bool:
    """Whether a `student.path` has the form of a hub model's name, and is no folder here."""
    return bool(NAME.fullmatch(path)) and not path.endswith(".gguf") and not Path(path).is_dir()


def without_revision(path: str) -> str:
    """What a server calls the model that a `student.path` names."""
    return path.partition("@")[0] if names(path) else path


def fetch(path: str, patterns: list[str]) -> Path:
    """The folder, named after the commit, with the model's files that match `patterns`, without COPIES. They are downloaded
    where they are not here yet, those of a gated model with HF_TOKEN.

    Raises InputError where they cannot be fetched.
    """
    from huggingface_hub import errors, snapshot_download, utils

    match = NAME.fullmatch(path)
    assert match
    if not sys.stderr.isatty():
        utils.disable_progress_bars()
    try:
        folder = snapshot_download(
            match["id"],
            revision=match["revision"],
            allow_patterns=patterns,
            ignore_patterns=COPIES,
            token=credentials.get("HF_TOKEN"),
        )
    except errors.GatedRepoError:
        why = "its owner lets those in who have accepted the terms on its page, with their HF_TOKEN in .env"
    except errors.RevisionNotFoundError:
        why = f"it has no revision '{match['revision']}'"
    except errors.RepositoryNotFoundError:
        why = "there is none of this name, or it is private and wants an HF_TOKEN in .env that may see it"
    except Exception as error:  # the hub client raises a dozen other errors, all of which mean that it failed
        why = " ".join(str(error).split())[:SHOWN] or type(error).__name__
    else:
        return Path(folder)
    raise InputError(
        f"params.yaml: /student/path: '{path}' is no folder here (looked for {Path(path).absolute()}) and could not be"
        f" fetched from the hub: {why}"
    )
