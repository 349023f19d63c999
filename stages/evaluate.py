"""models/adapter/, data/prompts.jsonl, data/train.jsonl, rollouts/ → reports/evaluation.json(l).

Base and student answer the held-out prompts through the agent loop and tools that the teacher had; the teacher's
answers are in rollouts/; how likely the student finds them is the held-out loss. The teacher's answers are judged first,
so that a judge who cannot be asked does not cost an exam. Prints the table, the share of the gap that was closed, and what
the splits have in common. Refuses held-out prompts that the teacher was not asked.
"""

import asyncio
from pathlib import Path
from typing import Any

from distill.agent import dvc_deps
from distill.agent.selection import held_out
from distill.agent.tools_version import tools_version
from distill.answers import judge
from distill.dataset import rollouts as rollout_records
from distill.project import stage
from distill.project.terminal import say
from distill.records import jsonl
from distill.records.faults import InputError
from distill.records.types import Params, Prompt
from distill.student.evaluation import exam, held_out_loss, interval, score
from distill.student.evaluation.table import table
from distill.student.serving.open_student import open_student, sampling
from distill.teacher.progress import Progress
from distill.teacher.store import Store
from distill.tools import toolbox
from distill.tools.mcp.tool_lists import ToolLists, committed_lists

ADAPTER = Path("models/adapter")


def main(params: Params) -> None:
    stage.forget_metrics()
    exam_prompts = held_out(list(jsonl.read("data/prompts.jsonl", "prepared_prompt")), params["evaluate"]["n"])
    all_rollouts = rollout_records.read("rollouts")
    rollouts = {rollout["prompt_id"]: rollout for rollout in all_rollouts if rollout["split"] == "eval"}
    if missing := [prompt for prompt in exam_prompts if prompt["id"] not in rollouts]:
        raise InputError(
            f"{prompt['source']}: the teacher was not asked this prompt of the exam: run `dvc repro teacher_rollouts`"
            for prompt in missing
        )
    exam_rollouts = [rollouts[prompt["id"]] for prompt in exam_prompts]
    teacher = {"teacher": [exam.from_rollout(rollout) for rollout in exam_rollouts]}
    no_verdict, rulings = exam.settle(teacher, exam_prompts, params)
    students = asyncio.run(_evaluate(exam_prompts, params))
    theirs, their_rulings = exam.settle(students, exam_prompts, params)
    no_verdict, rulings = no_verdict | theirs, rulings | their_rulings
    exams = students | teacher
    right = score.graded(exams)
    closed, closed_ci = interval.gap_closed(right["base"], right["student"], right["teacher"])
    gain, gain_ci = interval.gain(right["base"], right["student"])
    lead, lead_ci = interval.gain(right["teacher"], right["student"])
    served_elsewhere = params["runtime"]["student_url"]
    loss = None if served_elsewhere else held_out_loss.loss(exam_rollouts, params["student"]["path"], ADAPTER)
    evaluation = {
        "teacher_model": params["model"],
        "student_model": params["student"]["path"],
        **{
            who: score.score(records, exams["teacher"]) | {"no_verdict": no_verdict[who]}
            for who, records in exams.items()
        },
        "gap_closed": closed,
        "gap_closed_ci": closed_ci,
        "gain": gain,
        "gain_ci": gain_ci,
        "lead": lead,
        "lead_ci": lead_ci,
        "heldout_loss": loss,
        "shared_with_training": score.shared_with_training(exam_prompts, jsonl.read("data/train.jsonl", "row")),
        "by": score.by_metadata(exam_prompts, exams),
        "judge_cost_usd": judge.cost_usd(rulings),
    }
    jsonl.write("reports/evaluation.jsonl", (record for records in exams.values() for record in records), "evaluated")
    jsonl.write_json("reports/evaluation.json", evaluation, "evaluation")
    say("\n".join([table(evaluation), *judge.cost_line(evaluation["judge_cost_usd"])]))
    if warning := dvc_deps.unknown_to_dvc():
        print(warning)


async def _evaluate(prompts: list[Prompt], params: Params) -> dict[str, list[dict[str, Any]]]:
    exams = {}
    lists = ToolLists(Store().root, tools_version(params), committed_lists())
    async with toolbox.opened(params, prompts, lists) as tools:
        await tools.ready(prompts)
        model = open_student(params, ADAPTER)
        try:
            for who, scale in (("base", 0.0), ("student", 1.0)):
                progress = Progress(f"evaluate {who}", len(prompts) * params["evaluate"]["samples"])
                asked = sampling(params["evaluate"], scale)
                exams[who] = await exam.evaluate(who, prompts, model, asked, tools, params, progress.add)
        finally:
            await model.close()
    return exams


if __name__ == "__main__":
    stage.no_options(__doc__)
    stage.run(main)
