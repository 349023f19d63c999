"""inspect-ai's tool loop on the prompts of benchmarks/teacher.py: `BASE_URL COUNT CONCURRENCY`, in its own environment."""

import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import tool


@tool
def add():  # type: ignore[no-untyped-def]
    async def execute(a: int, b: int = 0) -> int:
        """Adds two numbers.

        Args:
            a: The first number.
            b: The second number.
        """
        return a + b

    return execute


def main(base_url: str, count: int, concurrency: int) -> None:
    samples = [Sample(input=f"what is {n} + 1?", target=str(n + 1)) for n in range(count)]
    [log] = eval(
        Task(dataset=samples, solver=[use_tools(add()), generate()]),
        model="openai/gpt-4o",
        model_base_url=base_url,
        model_args={"responses_api": False},
        max_connections=concurrency,
        display="none",
        log_dir="logs",
    )
    if log.status != "success" or any(sample.error for sample in log.samples or []):
        raise SystemExit(f"{log.status}: {log.error}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
