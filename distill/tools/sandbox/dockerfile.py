"""The build context of an image: a Dockerfile and the files that it copies. The image's hash covers exactly these.

The whole folder is not sent: it has models, data and `.env`, and its hash would change with every run.
"""

import hashlib
import io
import re
import shlex
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from distill.records.faults import Faults, InputError

HEREDOC = re.compile(r"(?<!\S)\d*<<-?([\"']?)([A-Za-z_]\w*)\1")
REMOTE = re.compile(r"(?:https?|ftp|ssh|git)://|git@")
MOUNT = re.compile(r"--mount=(\S+)")
WHOLE_FOLDER = (".", "./", "/", "*", "./*")
IGNORED = ("__pycache__", ".git", ".DS_Store")


@dataclass(frozen=True)
class BuildContext:
    """What is sent to the engine: `files` maps paths in the project to where they are."""

    dockerfile: str
    files: dict[str, Path]

    @property
    def hash(self) -> str:
        """SHA-256 of names, contents and execute permissions; 64 hex digits."""
        listed = [
            [name, hashlib.sha256(path.read_bytes()).hexdigest(), _executable(path)]
            for name, path in sorted(self.files.items())
        ]
        return hashlib.sha256(orjson.dumps([self.dockerfile, listed])).hexdigest()

    def tar(self) -> io.BytesIO:
        """The files as a tar archive: the same bytes for the same contents, so that the engine reuses its cached layers."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, path in sorted(self.files.items()):
                content = path.read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o755 if _executable(path) else 0o644
                archive.addfile(entry, io.BytesIO(content))
        packed.seek(0)
        return packed


def read(name: str) -> BuildContext:
    """The Dockerfile `name` of the project. Raises InputError with every fault, as `Dockerfile.x:line: …`."""
    path = Path(name)
    if not path.is_file():
        raise InputError(f"{name}: there is no such file in the project's folder")
    files, faults = {name: path}, Faults()
    for line, word, rest in _instructions(path.read_text(encoding="utf-8")):
        for source in _sources(word, rest):
            copied, fault = _files(source)
            files |= copied
            if fault:
                faults.add(f"{name}:{line}: {word} {source}: {fault}")
    faults.check()
    return BuildContext(name, files)


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """(line number, instruction, its arguments), with continued lines joined, without comments and here-documents."""
    lines = iter(enumerate(text.expandtabs(1).splitlines(), start=1))
    for number, line in lines:
        instruction = line.strip()
        if not instruction or instruction.startswith("#"):
            continue
        while instruction.endswith("\\"):
            _, more = next(lines, (0, ""))
            if not more.strip().startswith("#"):
                instruction = instruction[:-1] + " " + more.strip()
        word, _, rest = instruction.partition(" ")
        yield number, word.upper(), rest.strip()
        if word.upper() in ("RUN", "COPY", "ADD"):
            for _, end in HEREDOC.findall(rest):
                for _, body in lines:
                    if body.strip() == end:
                        break


def _sources(word: str, rest: str) -> list[str]:
    """The paths in the project that an instruction copies or mounts."""
    if word == "RUN":
        mounts = [dict(part.partition("=")[::2] for part in mount.split(",")) for mount in MOUNT.findall(rest)]
        bound = [mount for mount in mounts if mount.get("type", "bind") == "bind" and "from" not in mount]
        return [mount.get("source") or mount.get("src") or "." for mount in bound]
    if word not in ("COPY", "ADD"):
        return []
    flags, paths = [], rest
    while paths.startswith("--"):
        flag, _, paths = paths.partition(" ")
        flags.append(flag)
        paths = paths.strip()
    if any(flag.startswith("--from=") for flag in flags):
        return []
    try:
        parts = orjson.loads(paths) if paths.startswith("[") else shlex.split(paths)
    except ValueError:
        return []  # the engine reports it, and better
    return [part for part in parts[:-1] if not REMOTE.match(part) and not part.startswith("<<")]


def _files(source: str) -> tuple[dict[str, Path], str | None]:
    """The files of a source by their path in the project, and what is wrong with it."""
    if "$" in source:
        return {}, "names files by a variable; write their names out"
    if source in WHOLE_FOLDER:
        return {}, "the project's folder has data, models and keys; name the files that the image needs"
    relative = source.lstrip("/")
    if ".." in Path(relative).parts:
        return {}, "leads out of the project's folder"
    matches = sorted(Path().glob(relative)) if re.search(r"[*?\[]", relative) else [Path(relative)]
    files = {}
    for match in matches:
        inside = sorted(match.rglob("*")) if match.is_dir() else [match]
        for path in inside:
            if path.is_file() and not any(part in IGNORED for part in path.parts):
                files[path.as_posix()] = path
    if any(path.name == ".env" for path in files.values()):
        return {}, "would put .env, with its keys, into the image"
    return files, None if files else "there is no such file in the project's folder"


def _executable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)
