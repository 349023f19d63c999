"""Writes the browser example: `python -m examples.browser.make`. The output is committed; it changes only with this file
and with the version of the browser's server, which says what the demonstrations show.

The site is a register of invented clinical trials: an index, a search that fills a table, a page per trial and per sponsor.
Questions are of four kinds: one page, two pages (the sponsor of a trial), counting what a search finds, and finding a
trial by it. Held-out questions share no wording and no trial with the training part, and demonstrations none with either.
"""

import asyncio
import json
import os
from html import escape
from pathlib import Path
from typing import Any

import yaml

from distill.tools import toolbox

HERE = Path(__file__).resolve().parent
START = "http://trials.example"
SYSTEM = (
    "You answer questions about the Lakeside Trials Register with a browser. When a question names a trial, open the "
    "page with that number, such as http://trials.example/LT-1042.html. When it names none, type what you look for "
    "into the search at http://trials.example/trials.html. The sponsor of a trial has a page of its own: click on the "
    "link to it. Never guess. When you have read the answer, write it after 'Answer:'."
)
TRIALS = [
    # number, drug, condition, phase, status, people, start, sponsor, lead
    ("LT-1042", "verolimab", "asthma", 3, "recruiting", 412, "2024-03-11", "Northway Biologics", "Dr Ines Halloran"),
    ("LT-1057", "tasoprine", "migraine", 2, "completed", 186, "2022-09-05", "Ostrava Pharma", "Dr Paul Venter"),
    ("LT-1063", "cendafil", "heart failure", 3, "recruiting", 940, "2024-01-22", "Kestrel Trust", "Dr Amara Osei"),
    ("LT-1078", "luminastat", "psoriasis", 1, "stopped", 38, "2023-06-14", "Northway Biologics", "Dr Tom Riedl"),
    ("LT-1081", "oravexin", "gout", 2, "recruiting", 154, "2024-05-06", "Sandgate Research", "Dr Mei Tanaka"),
    ("LT-1096", "pelidrone", "osteoporosis", 3, "completed", 705, "2021-02-01", "Kestrel Trust", "Dr Lena Fors"),
    ("LT-1104", "brizonide", "hay fever", 2, "completed", 233, "2023-04-17", "Ostrava Pharma", "Dr Omar Said"),
    ("LT-1119", "quentarol", "insomnia", 2, "recruiting", 97, "2024-08-19", "Sandgate Research", "Dr Ruth Adeyemi"),
    ("LT-1125", "hesprovir", "shingles", 3, "stopped", 520, "2022-11-28", "Northway Biologics", "Dr Karl Lindqvist"),
    ("LT-1138", "nalidine", "epilepsy", 1, "recruiting", 24, "2024-10-07", "Kestrel Trust", "Dr Sofia Marchetti"),
    ("LT-1143", "ferroxate", "anaemia", 2, "completed", 318, "2023-01-09", "Sandgate Research", "Dr Ben Okafor"),
    ("LT-1150", "zorimab", "eczema", 3, "recruiting", 645, "2024-06-24", "Ostrava Pharma", "Dr Clara Neumann"),
    ("LT-1162", "opalene", "glaucoma", 2, "completed", 268, "2022-03-14", "Harrow Institute", "Dr Ivan Petrov"),
]
SPONSORS = {
    # city, year founded, staff
    "Northway Biologics": ("Tromsø", 1998, 430),
    "Ostrava Pharma": ("Ostrava", 1974, 2150),
    "Kestrel Trust": ("Cork", 2006, 75),
    "Sandgate Research": ("Brisbane", 2011, 120),
    "Harrow Institute": ("Leeds", 1989, 310),
}
DEMONSTRATIONS: list[tuple[str, list[tuple[str, dict[str, str]]], str]] = [
    (
        "Which trial tests opalene?",
        [
            ("browser_navigate", {"url": f"{START}/trials.html"}),
            ("browser_type", {"target": "e5", "text": "opalene"}),
        ],
        "LT-1162",
    ),
    (
        "In which city is the sponsor of LT-1162?",
        [("browser_navigate", {"url": f"{START}/LT-1162.html"}), ("browser_click", {"target": "e12"})],
        "Leeds",
    ),
    (
        "How many people are enrolled in trial LT-1162?",
        [("browser_navigate", {"url": f"{START}/LT-1162.html"})],
        "268",
    ),
]
"""What is asked, the calls, and the answer; the browser says the rest."""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="data:,">
<style>body {{ font: 16px/1.5 sans-serif; max-width: 46rem; margin: 2rem auto }} td, th {{ padding: 0 1rem }}</style></head>
<body>
<h1>{title}</h1>
{body}
<p><a href="index.html">Register</a></p>
</body>
</html>
"""
SEARCH = """<p><label>Drug, condition or status <input id="search"></label> <span id="count"></span></p>
<table><thead><tr><th>Trial</th><th>Drug</th><th>Condition</th><th>Status</th></tr></thead>
<tbody>
{rows}
</tbody></table>
<script>
const rows = [...document.querySelectorAll("tbody tr")], box = document.getElementById("search");
const show = () => {{
  const words = box.value.toLowerCase();
  for (const row of rows) row.hidden = !words || !row.textContent.toLowerCase().includes(words);
  document.getElementById("count").textContent = `${{rows.filter(row => !row.hidden).length}} found`;
}};
box.addEventListener("input", show);
show();
</script>"""


def pages() -> dict[str, str]:
    """The site: file names and their HTML."""
    links = [("trials.html", "Search"), *((f"{slug(name)}.html", name) for name in SPONSORS)]
    found = {
        "index.html": (
            "Lakeside Trials Register",
            f"<p>{len(TRIALS)} trials of {len(SPONSORS)} sponsors. All of them are invented.</p>\n{listed(links)}",
        ),
        "trials.html": ("Search", SEARCH.format(rows="\n".join(map(row, TRIALS)))),
    }
    for number, drug, condition, phase, status, people, start, sponsor, lead in TRIALS:
        facts = f"""<ul>
<li>Drug: {drug}</li>
<li>Condition: {condition}</li>
<li>Phase: {phase}</li>
<li>Status: {status}</li>
<li>People enrolled: {people}</li>
<li>Start date: {start}</li>
<li>Principal investigator: {lead}</li>
</ul>
<p>Sponsor: <a href="{slug(sponsor)}.html">{sponsor}</a></p>"""
        found[f"{number}.html"] = (f"{number}: {drug} for {condition}", facts)
    for name, (city, founded, staff) in SPONSORS.items():
        theirs = [(f"{trial[0]}.html", trial[0]) for trial in TRIALS if trial[7] == name]
        facts = f"<ul><li>City: {city}</li><li>Founded: {founded}</li><li>Staff: {staff}</li></ul>"
        found[f"{slug(name)}.html"] = (name, f"{facts}\n<h2>Trials</h2>\n{listed(theirs)}")
    return {file: PAGE.format(title=escape(title), body=body) for file, (title, body) in found.items()}


def row(trial: tuple[Any, ...]) -> str:
    number, drug, condition, _, status, *_ = trial
    return f'<tr><td><a href="{number}.html">{number}</a></td><td>{drug}</td><td>{condition}</td><td>{status}</td></tr>'


def listed(links: list[tuple[str, str]]) -> str:
    return "<ul>" + "".join(f'<li><a href="{file}">{escape(text)}</a></li>' for file, text in links) + "</ul>"


def slug(name: str) -> str:
    return name.lower().replace(" ", "-")


def questions() -> list[dict[str, Any]]:
    """The seed rows: four in five to train on."""
    trial = {entry[0]: entry for entry in TRIALS}
    city, founded, staff = ({name: facts[place] for name, facts in SPONSORS.items()} for place in range(3))
    status = [entry[4] for entry in TRIALS]
    by_drug = {entry[1]: entry for entry in TRIALS}
    number, text = {"answer_type": "number"}, {"answer_type": "exact"}
    asked = [
        ("page", "Find info about LT-1042: which drug is tested?", trial["LT-1042"][1], text),
        ("page", "How many people are enrolled in trial LT-1057?", trial["LT-1057"][5], number),
        ("page", "Who is the principal investigator of LT-1063?", trial["LT-1063"][8], text),
        ("page", "On which date did LT-1078 start?", trial["LT-1078"][6], {"answer_type": "date"}),
        ("page", "Which condition does trial LT-1081 treat?", trial["LT-1081"][2], text),
        ("page", "Which phase is trial LT-1096 in?", trial["LT-1096"][3], number),
        ("page", "Is LT-1104 recruiting, completed or stopped?", trial["LT-1104"][4], text),
        ("page", "How many patients take part in LT-1119?", trial["LT-1119"][5], number),
        ("page", "Who leads the trial LT-1143?", trial["LT-1143"][8], text),
        ("page", "When did the trial LT-1096 begin?", trial["LT-1096"][6], {"answer_type": "date"}),
        ("pages", "In which city is the sponsor of LT-1042?", city[trial["LT-1042"][7]], text),
        ("pages", "In which year was the sponsor of LT-1057 founded?", founded[trial["LT-1057"][7]], number),
        ("pages", "How many staff does the sponsor of trial LT-1063 have?", staff[trial["LT-1063"][7]], number),
        ("pages", "Where is the company behind LT-1081 based?", city[trial["LT-1081"][7]], text),
        ("pages", "How old is the sponsor of LT-1104: when was it founded?", founded[trial["LT-1104"][7]], number),
        ("count", "How many trials of the register are recruiting?", status.count("recruiting"), number),
        ("count", "How many trials have been stopped?", status.count("stopped"), number),
        ("search", "Which trial tests tasoprine?", by_drug["tasoprine"][0], text),
        ("search", "What is the number of the trial on osteoporosis?", "LT-1096", text),
        ("search", "How many people are enrolled in the trial of quentarol?", by_drug["quentarol"][5], number),
        ("page", "What does the register say about LT-1125: how large is its enrolment?", trial["LT-1125"][5], number),
        ("page", "Look up LT-1138. Whose study is it?", trial["LT-1138"][8], text),
        ("pages", "From which town does the sponsor of LT-1150 come?", city[trial["LT-1150"][7]], text),
        ("search", "Find the study of zorimab. What is its number?", by_drug["zorimab"][0], text),
    ]
    trained = len(asked) * 5 // 6
    return [
        {
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
            "metadata": {"expected_answer": answer, **kind, "family": family},
            "split": "train" if place < trained else "eval",
        }
        for place, (family, question, answer, kind) in enumerate(asked)
    ]


async def demonstrations() -> list[dict[str, Any]]:
    """The example conversations, with what the real browser shows. The folder `browser` must be in this one."""
    params = {
        "agent": {"tool_timeout_s": 60, "tool_output_chars": 10_000},
        "runtime": {"tool_sessions": 1},
        "tools": yaml.safe_load((HERE / "settings.yaml").read_text())["tools"],
    }
    rows = []
    async with toolbox.opened(params, [{"source": "make.py"}]) as box:
        for number, (question, steps, answer) in enumerate(DEMONSTRATIONS):
            messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
            async with box.open({}) as session:
                for place, (name, arguments) in enumerate(steps):
                    function = {"name": name, "arguments": json.dumps(arguments)}
                    call = {"id": f"demo_{number}_{place}", "type": "function", "function": function}
                    told = await session.call(call)
                    messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
                    messages.append({"role": "tool", "tool_call_id": call["id"], "content": told.content})
            rows.append({"messages": [*messages, {"role": "assistant", "content": f"Answer: {answer}"}]})
    return rows


def write(name: str, rows: list[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (HERE / name).write_text("".join(lines), encoding="utf-8")


def main() -> None:
    (HERE / "site").mkdir(exist_ok=True)
    for name, html in pages().items():
        (HERE / "site" / name).write_text(html, encoding="utf-8")
    write("seed.jsonl", questions())
    os.chdir(HERE.parent)
    write("demonstrations.jsonl", asyncio.run(demonstrations()))


if __name__ == "__main__":
    main()
