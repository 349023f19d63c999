"""`make models`: downloads the embedded models that params.yaml names, so that no stage has to, and tests whether llama.cpp
can be loaded on this machine."""

import sys

from distill.project import stage
from distill.records.types import Params
from distill.teacher.embedded import llama_server, weights


def embedded_models(params: Params) -> list[str]:
    """The `local/…` models of params.yaml: teacher, judge and student, each once."""
    models = (params["model"], params["judge"]["model"], params["student"]["path"])
    return list(dict.fromkeys(model for model in models if model and model.startswith("local/")))


def main(params: Params) -> None:
    """Downloads the models that are not in the cache, and prints the path of each."""
    models = embedded_models(params)
    if models:
        llama_server.load()
    for model in models:
        print(f"{model}: {weights.find(model)[0]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    stage.no_options(__doc__)
    stage.run(main)
