"""`make gguf`: writes the trained student as one GGUF file for llama.cpp."""

from pathlib import Path

from distill.commands import merge
from distill.project import stage
from distill.records.types import Params
from distill.student.gguf import to_gguf

FILE = Path("models/student.gguf")


def main(params: Params) -> None:
    """Merges the project's adapter into its base and writes the file."""
    merge.main(params)
    to_gguf.write(merge.MERGED, FILE)
    print(f"{merge.MERGED} -> {FILE} ({FILE.stat().st_size / 2**20:.0f} MiB)")


if __name__ == "__main__":
    stage.no_options(__doc__)
    stage.run(main)
