"""Of the rows of one prompt, the `filter.max_per_prompt` best stay: right ones first, then those with the fewest tool
errors, tool calls and tokens, then by rollout_id."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from distill.dataset import facts
from distill.dataset.checks.fault import Fault
from distill.dataset.facts import Facts
from distill.records.types import Row

ADVICE = "raise filter.max_per_prompt"


def losers(
    standing: Mapping[int, Facts], rows: Callable[[], Iterable[Row]], filters: Mapping[str, Any]
) -> dict[int, Fault]:
    """The rows (by place) that are not among the best of their prompt."""
    most = filters["max_per_prompt"]
    places: dict[str, list[int]] = defaultdict(list)
    for place, row_facts in standing.items():
        places[row_facts.prompt_id].append(place)
    fault = Fault(f"{most} better rows of the same prompt stay")
    return {
        place: fault
        for places_of_prompt in places.values()
        for place in sorted(places_of_prompt, key=lambda place: facts.rank(standing[place]))[most:]
    }
