"""Opens the model that params.yaml names: the name alone decides where it runs and which API it is asked through."""

import resource

from distill.records.faults import InputError
from distill.records.types import Message
from distill.teacher.api import provider, rules
from distill.teacher.api.endpoint_model import EndpointModel
from distill.teacher.api.throttle import Throttle
from distill.teacher.asked import Asked
from distill.teacher.batch.batch_model import BatchModel
from distill.teacher.embedded import gguf_model, weights
from distill.teacher.halt import Halt
from distill.teacher.model import StoredModel
from distill.teacher.store import Store
from distill.teacher.teacher import Teacher

OTHER_FILES = 600
"""Open files that are not connections: leases, the store, Python's own."""


def open_model(asked: Asked, halt: Halt, store: Store, with_tools: bool) -> StoredModel:
    """The model that is asked; nothing is contacted or started before the first request.

    `local/<name>` and GGUF paths run here; with a base_url every other name is asked there (key: TEACHER_API_KEY);
    OpenAI's models are asked at OpenAI (key: OPENAI_API_KEY). Raises InputError for any other name, and for all rules of
    OpenAI's that the parameters break.
    """
    runtime = asked.runtime
    if gguf_model.is_local(asked.model):
        return gguf_model.local_model(asked.model, slots=runtime["concurrency"])
    faults = rules.faults(asked, provider.api_of(asked), with_tools) if provider.OPENAI.match(asked.model) else []
    if runtime["tier"] == "batch" and with_tools and asked.max_turns > 1:
        faults.append(
            "params.yaml: /runtime/tier: batch is for prompts without tools, and there are some with tools; flex costs "
            "as little"
        )
    if faults:
        raise InputError(faults)
    connections = _most_connections(runtime["api_concurrency"])  # in a batch few, but as many leases
    if runtime["tier"] == "batch":
        return BatchModel(asked, halt, store)
    throttle = Throttle(
        connections,
        halt,
        runtime["requests_per_minute"],
        runtime["tokens_per_minute"],
    )
    if runtime["tier"] == "flex_or_standard":
        throttle.congestion -= {"flex_busy"}  # the standard tier may have room for what the flex tier refuses
    return EndpointModel(asked, throttle, halt)


def open_teacher(asked: Asked, demonstrations: list[Message], with_tools: bool) -> Teacher:
    """The model that is asked, with the store of its answers and a switch that stops the run. Raises InputError as
    `open_model`."""
    halt, store = Halt(), Store()
    model = open_model(asked, halt, store, with_tools)
    return Teacher(model, store, provider.sampling(asked), demonstrations, halt)


def check_model(asked: Asked) -> None:
    """Raises InputError where the model is neither here nor at an endpoint. Nothing is fetched, and nobody is asked."""
    if not gguf_model.is_local(asked.model):
        provider.api_of(asked)
    elif asked.model.removeprefix("local/") not in weights.MODELS:
        try:
            weights.find(asked.model)
        except InputError as error:
            raise InputError(f"{asked.place}: {fault}" for fault in error.faults) from None


def _most_connections(connections: int) -> int:
    """`connections`, or fewer if the system does not allow that many open files. Raises the soft limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return connections if allowed == resource.RLIM_INFINITY else min(connections, max(1, allowed - OTHER_FILES))
