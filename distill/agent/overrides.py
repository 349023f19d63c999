"""The option `-S key=value` of commands that run outside of DVC: a plan, a trial."""

import argparse
from copy import deepcopy
from typing import Any

import yaml

from distill.project import params as records
from distill.records import schema
from distill.records.faults import Faults
from distill.records.types import Params


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds `-S`, which may be given several times; its values are in `.set`."""
    parser.add_argument(
        "-S",
        action="append",
        default=[],
        dest="set",
        metavar="KEY=VALUE",
        help="a parameter to change, as in `dvc exp run`",
    )


def overridden(params: Params, settings: list[str]) -> Params:
    """The parameters with each `group.key=value` set, values read as YAML. Raises InputError with every fault."""
    changed = deepcopy(params)
    faults = Faults()
    for setting in settings:
        key, _, value = setting.partition("=")
        *groups, last = key.split(".")
        parent: Any = changed
        for group in groups:
            parent = parent.get(group) if isinstance(parent, dict) else None
        if not isinstance(parent, dict) or last not in parent:
            faults.add(f"-S {setting}: params.yaml has no key '{key}'")
        else:
            try:
                parent[last] = records.parse(value)
            except yaml.YAMLError as error:
                faults.add(f"-S {setting}: the value is not valid YAML: {' '.join(str(error).split())}")
    faults.add(*(f"-S: {fault}" for fault in schema.faults("params", changed)))
    faults.check()
    return changed
