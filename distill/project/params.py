"""params.yaml: the whole configuration, validated before anything runs."""

import re
from pathlib import Path
from typing import Any

import yaml

from distill.records import schema
from distill.records.faults import InputError
from distill.records.types import Params


class _Yaml12(yaml.SafeLoader):
    """A YAML 1.2 loader, as DVC has: PyYAML reads YAML 1.1, where `2e-05` is a string and `on` a boolean."""


_Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# The core schema of YAML 1.2.2, section 10.3.2.
_Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Yaml12.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)
# PyYAML's integers read a leading 0 as octal; YAML 1.2 has plain decimals.
_Yaml12.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
_Yaml12.add_constructor("tag:yaml.org,2002:float", lambda _, node: float(node.value))


def parse(text: str) -> Any:
    """YAML 1.2 text as Python values. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Yaml12)


def load(path: Path | str = "params.yaml") -> Params:
    """The parameters, valid against schemas/params.schema.json. Raises InputError with every fault."""
    try:
        params = parse(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the project's root") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML in UTF-8: {error}") from None
    faults = schema.faults("params", params)
    if faults:
        raise InputError(f"{path}: {fault}" for fault in faults)
    return params
