"""`make merge`: writes the trained student as a complete model, its adapter merged into the base."""

from pathlib import Path

from distill.project import stage
from distill.records.types import Params
from distill.student.merge import merge

ADAPTER, MERGED = Path("models/adapter"), Path("models/merged")


def main(params: Params) -> None:
    """Merges the project's adapter into its base."""
    merge(params["student"]["path"], ADAPTER, MERGED)
    size = sum(file.stat().st_size for file in MERGED.iterdir())
    print(f"{ADAPTER} and its base -> {MERGED} ({size / 2**20:.0f} MiB)")


if __name__ == "__main__":
    stage.no_options(__doc__)
    stage.run(main)
