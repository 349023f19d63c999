// One conversation, as a person reads it.

const shown = { base: true, student: true, teacher: true };

function read(one, item) {
  const compared = one.talks.length > 1;
  const talks = ["student", "teacher", "base"].flatMap((who) => one.talks.filter((talk) => talk.who === who));
  const columns = make("div", { class: compared ? "columns" : "columns single" }, talks.map((talk) => column(talk, talks)));
  return [
    fate(one, item),
    facts(one, talks),
    one.prompt.length > 0 && make("section", { class: "talk", "aria-label": "Prompt" }, turns(one.prompt, () => "Assistant, in the prompt")),
    compared && toggles(columns),
    columns,
    offered(INDEX.toolsets[one.tools]),
    fold("Record", "what this page holds of it, as JSON", make("pre", {}, JSON.stringify(one, null, 2))),
  ];
}

function fate(one, item) {
  const box = make("div", { class: `fate ${item.fate}` }, make("h2", {}, WORDS.fate[item.fate]));
  if (item.fate === "trained") {
    const learned = one.talks[0].learned.length;
    const masked = one.talks[0].messages.filter((message) => message.weight === 0).length;
    box.append(`The student learns from the ${plural(learned, "highlighted turn")}; everything else is only context.`,
      masked > 0 ? ` ${plural(masked, "turn")} of the teacher’s ${masked === 1 ? "was" : "were"} masked: a check found a fault there.` : "");
  } else if (item.fate === "rejected") {
    box.append(make("ul", {}, one.reasons.map((reason) => make("li", {},
      make("b", {}, WORDS.why[reason.check] ?? reason.check), reason.detail && `: ${reason.detail}`,
      make("span", { class: "rule" }, `A row must pass: ${WORDS.rules[reason.check] ?? reason.check}.`)))));
  } else if (item.fate === "held_out") {
    box.append(one.talks.length > 1 ? "Never trained on. Base, student and teacher were given this same prompt." : "Kept for evaluation, never trained on.");
  } else if (item.fate === "validation") {
    box.append("A row that passed the filter and is not trained on: its loss is measured during training.");
  } else if (item.fate === "failed") {
    box.append(`${WORDS.stop[item.stop] ?? item.stop}.`);
  } else box.append("It is in neither the training rows nor the rejected ones.");
  return box;
}

function facts(one, talks) {
  const entries = [["Expected answer", one.metadata.expected_answer ?? "none known"]];
  if (talks.length === 1) entries.push(...measures(talks[0]));
  entries.push(["Prompt", one.source ?? one.prompt_id], ["Sample", one.sample], ["Id", one.id]);
  return definitions(entries);
}

function measures(talk) {
  return [
    ["Answer", `${talk.answer ?? "none"} (${verdict(talk.correct)}${talk.why ? `; ${talk.why}` : ""})`],
    ["Ended because", WORDS.stop[talk.stop_reason] ?? talk.stop_reason],
    ["Tokens", talk.tokens ? number(talk.tokens) : null], // not known of imported conversations
    ["Cost", talk.cost_usd === null ? null : dollars(talk.cost_usd)],
  ].filter(([, value]) => value !== null);
}

function definitions(entries) {
  return make("dl", { class: "facts" }, entries.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", { dir: "auto" }, String(value)))));
}

function toggles(columns) {
  const apply = () => [...columns.children].forEach((node) => { node.hidden = !shown[node.dataset.who]; });
  apply();
  return make("fieldset", { class: "toggles" }, make("legend", {}, "Show"), [...new Set([...columns.children].map((node) => node.dataset.who))].map((who) => {
    const box = make("input", { type: "checkbox", checked: shown[who] });
    box.addEventListener("change", () => { shown[who] = box.checked; apply(); });
    return make("label", {}, box, WORDS.who[who][0]);
  }));
}

function column(talk, talks) {
  const compared = talks.length > 1;
  const samples = talks.filter((other) => other.who === talk.who);
  const [called, what] = WORDS.who[talk.who];
  const name = samples.length > 1 ? `${called}, answer ${samples.indexOf(talk) + 1} of ${samples.length}` : called;
  return make("section", { class: `talk ${talk.who}`, "data-who": talk.who, "aria-label": name },
    compared && make("header", {}, make("h3", {}, name), make("p", {}, what), definitions(measures(talk))),
    turns(talk.messages, (place) => turnName(talk, place, compared), talk, compared ? "h4" : "h3"),
    talk.error && make("p", { class: "error" }, make("b", {}, `${talk.error.kind} in ${talk.error.where}: `), talk.error.message));
}

// The messages, each tool's result with its call. `name` names an assistant's turn at a place, `heading` is the tag of names.
function turns(messages, name, talk, heading = "h3") {
  return messages.map((message, place) => message.role === "tool" ? null : said(message, name(place), results(messages, place), talk, place, heading));
}

// The tool messages right behind the one at `place`. Only these are its results: later turns may use the ids of its calls again.
function results(messages, place) {
  const end = messages.findIndex((message, at) => at > place && message.role !== "tool");
  return messages.slice(place + 1, end < 0 ? messages.length : end);
}

function turnName(talk, place, compared) {
  const turn = talk.messages.slice(0, place + 1).filter((message) => message.role === "assistant").length;
  return compared ? `Turn ${turn}` : `${WORDS.who[talk.who][0]}, turn ${turn}`;
}

function said(message, name, results, talk, place, heading) {
  const learned = talk?.learned.includes(place);
  const faults = (talk?.faults ?? []).filter(([at]) => at === place || results.includes(talk.messages[at])).map(([, check]) => WORDS.why[check] ?? check);
  const role = message.role === "assistant" ? name : { system: "System", user: "User" }[message.role];
  const label = make(heading, { class: "role" }, role,
    learned && make("span", { class: "tag" }, "learned from"),
    faults.map((why) => make("span", { class: "tag fault" }, why)),
    message.weight === 0 && make("span", { class: "tag plain" }, "masked: seen, not learned from"));
  return make("div", { class: `message ${message.role}${learned ? " learned" : ""}${message.weight === 0 ? " masked" : ""}${faults.length ? " faulty" : ""}` }, label,
    message.reasoning_content && fold("Reasoning", thoughts(learned), make("div", { class: "text", dir: "auto" }, message.reasoning_content)),
    message.content && make("div", { class: "text", dir: "auto" }, message.content),
    message.refusal && make("div", { class: "text", dir: "auto" }, `Refused: ${message.refusal}`),
    (message.tool_calls ?? []).map((call) => called(call, results.find((result) => result.tool_call_id === call.id)?.content)));
}

// What became of the reasoning of a turn. Of a turn that is not learned from, the turn says so itself.
function thoughts(learned) {
  if (!learned || INDEX.thoughts === null) return "";
  return INDEX.thoughts ? "learned from, too" : "not learned from: the student’s chat template has no place for it";
}

// A tool call with its result: one line that says what was asked and what came back; all of it when unfolded.
function called(call, result) {
  const { name, arguments: raw } = call.function;
  const failed = result?.startsWith("error: "); // how the tool loop tells a model that a call failed
  return folded(make("details", { class: `call${failed ? " failed" : ""}` },
    make("summary", {}, make("span", { class: "asked" }, make("b", {}, name), `(${brief(raw)})`),
      make("span", { class: "came" }, result === undefined ? "no result" : result.split("\n", 1)[0] || "(empty)")),
    block("Arguments", pretty(raw)),
    block(failed ? "Result: an error" : "Result", result === undefined ? "(the call was never answered)" : pretty(result))));
}

function block(label, text) {
  return [make("p", { class: "label" }, label), make("pre", { role: "group", "aria-label": label, dir: "auto" }, text)];
}

// Text too long for its box can be scrolled by keyboard.
function folded(details) {
  details.addEventListener("toggle", () => {
    for (const box of details.querySelectorAll("pre")) if (box.scrollHeight > box.clientHeight) box.tabIndex = 0;
  });
  return details;
}

// The value of a JSON text; of one nested too deeply to be written again, as of other text, undefined.
function parse(text) {
  try {
    const value = JSON.parse(text);
    JSON.stringify(value, null, 2);
    return value;
  } catch { return undefined; }
}

function brief(raw) {
  const values = parse(raw);
  if (!values || typeof values !== "object") return raw;
  return Object.entries(values).map(([key, value]) => `${key}: ${JSON.stringify(value)}`).join(", ");
}

// JSON on several lines; with strings that have lines themselves, such as code, as they are read.
function pretty(text) {
  const value = parse(text);
  if (!value || typeof value !== "object") return text;
  const hasLines = (part) => typeof part === "string" && part.includes("\n");
  if (!Object.values(value).some(hasLines)) return JSON.stringify(value, null, 2);
  return Object.entries(value).map(([key, part]) => `${key}: ${hasLines(part) ? `\n${part}` : JSON.stringify(part, null, 2)}`).join("\n");
}

function offered(tools) {
  if (!tools.length) return make("p", { class: "note" }, "No tools were offered.");
  return fold(plural(tools.length, "tool") + " offered", tools.map((tool) => tool.function.name).join(", "),
    tools.map(({ function: tool }) => make("div", { class: "tool" }, make("h3", {}, tool.name), make("p", {}, tool.description ?? ""), make("pre", {}, JSON.stringify(tool.parameters, null, 2)))));
}

function fold(title, hint, ...content) {
  return folded(make("details", { class: "fold" }, make("summary", {}, make("b", {}, title), make("span", {}, hint)), ...content));
}
