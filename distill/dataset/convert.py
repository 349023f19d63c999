"""Converts rollouts to training rows. Nothing is rejected here: what the filter goes by becomes an outcome column."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from distill import answers
from distill.records.faults import InputError
from distill.records.spoken import begin, unlearned
from distill.records.tool_error import TOOL_ERROR
from distill.records.types import Rollout, Row, ToolSchema

FOREIGN = ("row", "rnow")
"""How the keys of imported rollouts begin (conversations.py, rnow.py); their file follows."""
MOST_NAMED = 3
CUT_OFF = "cut off"
"""What an imported conversation is that ends with a call or its result."""


def fate(rollout: Rollout, include_failed: bool) -> str:
    """What becomes of a rollout: `converted`, or left out as `failed` or as `eval` (a held-out prompt makes no row)."""
    if rollout["split"] == "eval":
        return "eval"
    if rollout["status"] == "failed" and not include_failed:
        return "failed"
    return "converted"


def row(rollout: Rollout, own_tools: Callable[[], list[ToolSchema]] = list) -> Row:
    """The training row of a rollout. `tokens` counts what the teacher read and wrote; `answer` is the final answer alone.
    Assistant messages in the prompt are no turns of the teacher, and have `weight: 0`. `own_tools` gives the schemas of
    the project's tools, for conversations from elsewhere that call tools without listing them.

    Raises InputError where the expected answer in the metadata is not valid.
    """
    messages, metadata, usage = rollout["messages"], rollout["metadata"], rollout["usage"]
    own_messages = messages[begin(rollout) :]
    turns = [message for message in own_messages if message["role"] == "assistant"]
    results = [message["content"] for message in own_messages if message["role"] == "tool"]
    grade = answers.grade(messages, metadata)
    return {
        "messages": unlearned(rollout),
        "tools": own_tools() if _lacks_tools(rollout) else rollout["tools"],
        "metadata": metadata,
        "prompt_id": rollout["prompt_id"],
        "rollout_id": rollout["id"],
        **_origin(rollout),
        "sample": rollout["sample"],
        "split": rollout["split"],
        "teacher": rollout["model"],
        "outcome": {
            "status": rollout["status"],
            "stop_reason": rollout["stop_reason"],
            "answer": grade.answer,
            "correct": grade.correct,
            "accepted_by": grade.accepted_by,
            "why": grade.why,
            "turns": len(turns),
            "tool_calls": sum(len(message.get("tool_calls", [])) for message in turns),
            "tool_errors": sum(result.startswith(TOOL_ERROR) for result in results),
            "tokens": usage["input_tokens"] + usage["output_tokens"],
            "cost_usd": rollout["cost_usd"],
        },
    }


def _origin(rollout: Rollout) -> dict[str, str]:
    """Where a conversation from elsewhere lies in the folder of those, to find it there; nothing of the teacher's own."""
    kind, _, place = rollout["key"].partition("/")
    return {"origin": place} if kind in FOREIGN else {}


def _lacks_tools(rollout: Rollout) -> bool:
    """Whether the rollout calls tools but lists none, as those of rnow do."""
    is_foreign = not rollout["tools"] and not rollout["versions"]
    return is_foreign and any(message.get("tool_calls") for message in rollout["messages"])


class Fates:
    """What became of the rollouts: how many have each `fate`, why rollouts failed, and which of the imported ones."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        """How many failed, by stop reason."""
        self.with_error = 0
        """How many of them the server or a tool made fail, which their `error` quotes."""
        self.imported: list[str] = []
        """The imported ones that failed, as `file:line (stop reason)`; the teacher's own are in its report."""

    def add(self, rollout: Rollout, its_fate: str) -> None:
        """Counts a rollout."""
        self.counts[its_fate] += 1
        if its_fate == "failed":
            origin, _, name = rollout["key"].partition("/")
            stop = rollout["stop_reason"]
            stop = CUT_OFF if (origin, stop) == ("row", "max_turns") else stop  # a conversation has no limit of turns
            self.stops[stop] += 1
            self.with_error += bool(rollout["error"])
            if origin in FOREIGN:
                self.imported.append(f"{name} ({stop})")

    def failures(self) -> list[str]:
        """Why rollouts failed and which, as lines; none where none did."""
        if not self.stops:
            return []
        reasons = ", ".join(f"{count} {stop}" for stop, count in sorted(self.stops.items()))
        failed = self.counts["failed"]
        why = f"; `error` says more of {self.with_error}" if self.with_error else ""
        lines = [f"  {failed} failed ({reasons}){why}"]
        if self.imported:
            more = f" and {len(self.imported) - MOST_NAMED} more" if len(self.imported) > MOST_NAMED else ""
            lines.append(f"  imported ones: {', '.join(self.imported[:MOST_NAMED])}{more}")
        lines.append("  --include-failed (convert.include_failed) keeps them for the filter to check")
        if self.stops[CUT_OFF]:
            lines.append(
                "  those cut off end with a call or its result; to learn the calls, set filter.finished, final_answer and paired"
                " to off, too"
            )
        return lines


def rows(
    rollouts: Iterable[Rollout],
    include_failed: bool,
    fates: Fates,
    own_tools: Callable[[], list[ToolSchema]],
) -> Iterator[Row]:
    """The rows of the rollouts that are converted, as `row` makes them; `fates` is told of every rollout.

    Raises InputError after the last rollout when none was converted, so that no empty file takes a full one's place.
    """
    for rollout in rollouts:
        its_fate = fate(rollout, include_failed)
        fates.add(rollout, its_fate)
        if its_fate == "converted":
            yield row(rollout, own_tools)
    if not fates.counts["converted"]:
        raise InputError(_nothing_converted(fates))


def _nothing_converted(fates: Fates) -> str:
    """Why no rollout was converted, and what to do."""
    if not fates.counts.total():
        return "nothing to convert: there is no rollout; `dvc repro teacher_rollouts` makes them"
    lines = [f"nothing converted of {fates.counts.total()} rollouts"]
    if held_out := fates.counts["eval"]:
        lines.append(f'  {held_out} are held out and never trained on; give rows to learn from "split": "train"')
    return "\n".join([*lines, *fates.failures()])
