"""One script per stage of dvc.yaml."""

import importlib.util
import sys

if importlib.util.find_spec("jsonschema_rs") is None:
    sys.exit(
        f"error: {sys.executable} does not have the project's packages: type `. .venv/bin/activate` first (or `make "
        "install`). What DVC has put aside for this stage comes back with `dvc checkout`, params.yaml with `git checkout "
        "params.yaml`"
    )
