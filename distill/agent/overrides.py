"""`-S key=value` for what runs outside of DVC: a plan, a trial."""

import argparse
from copy import deepcopy
from typing import Any

import yaml

from distill.records import params as records
from distill.records import schema
from distill.records.faults import InputError


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


def overridden(params: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The parameters with each `group.key=value` put in, values read as YAML. Raises InputError with every fault."""
    changed = deepcopy(params)
    faults = []
    for setting in settings:
        key, _, value = setting.partition("=")
        *groups, last = key.split(".")
        place: Any = changed
        for group in groups:
            place = place.get(group) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            faults.append(f"-S {setting}: params.yaml has no key '{key}'")
        else:
            try:
                place[last] = records.parse(value)
            except yaml.YAMLError as error:
                faults.append(f"-S {setting}: the value is not valid YAML: {' '.join(str(error).split())}")
    faults += [f"-S: {fault}" for fault in schema.faults("params", changed)]
    if faults:
        raise InputError(faults)
    return changed
