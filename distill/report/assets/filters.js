// Which conversations are listed, and in which order.

const COSTS = [[0, "free"], [0.001, "under $0.001"], [0.01, "$0.001 to $0.01"], [0.1, "$0.01 to $0.10"], [Infinity, "over $0.10"]];
const sentence = (key) => (key[0].toUpperCase() + key.slice(1)).replaceAll("_", " ");
const named = (words) => (value) => words[value] ?? value;

// A filter: its key in the address, its label, the values that an item has, and what a value is called. The names
// stand without the label, so each says what it is of.
const FILTERS = [
  { key: "split", label: "Split", values: (item) => [item.split], name: named(WORDS.split) },
  { key: "fate", label: "Status", values: (item) => [item.fate], name: named(WORDS.fate) },
  { key: "why", label: "Rejected because", values: (item) => item.why, name: named(WORDS.why) },
  { key: "stop", label: "Ended because", values: (item) => [item.stop], name: named(WORDS.stop) },
  { key: "failure", label: "Failed because", values: (item) => (item.failure ? [item.failure] : []), name: (value) => WORDS.stop[value] ?? sentence(value) },
  { key: "teacher", label: "Teacher’s answer", values: (item) => answerOf(item, "teacher"), name: (value) => `Teacher ${value}` },
  { key: "student", label: "Student’s answer", values: studentAnswer, name: (value) => `Student ${value}` },
  { key: "tool", label: "Tool called", values: (item) => (item.tools.length ? item.tools : ["no tool"]), name: (value) => `Called ${value}` },
  { key: "turns", label: "Turns", values: (item) => [item.turns < 8 ? String(item.turns) : "8 or more"], name: (value) => `${value} ${value === "1" ? "turn" : "turns"}` },
  { key: "cost", label: "Cost", values: (item) => [costOf(item)], name: (value) => `Cost ${value}` },
  ...INDEX.groups.map((group, place) => ({
    key: `meta.${group}`,
    label: sentence(group),
    values: (item) => (item.meta[place] ? [item.meta[place]] : []),
    name: (value) => `${sentence(group)}: ${value}`,
  })),
];
const ORDERS = [
  { key: "", label: "In order of prompts", by: null },
  { key: "turns", label: "Most turns first", by: (item) => item.turns },
  { key: "tokens", label: "Most tokens first", by: (item) => item.tokens },
  { key: "cost", label: "Most expensive first", by: (item) => item.cost ?? -1 },
];

function answerOf(item, who) {
  return who in item.correct ? [verdict(item.correct[who])] : [];
}

function studentAnswer(item) {
  const { base, student, teacher } = item.correct;
  const found = answerOf(item, "student");
  if (student === true && base === false) found.push("correct, base wrong");
  if (student === false && base === true) found.push("wrong, base correct");
  if (student === true && teacher === false) found.push("correct, teacher wrong");
  if (student === false && teacher === true) found.push("wrong, teacher correct");
  return found;
}

function costOf(item) {
  return item.cost === null ? "unknown" : COSTS.find(([most]) => item.cost <= most)[1];
}

// The filters that have a choice to offer, each with how often a value occurs.
function choices() {
  return FILTERS.map((filter) => {
    const counts = new Map();
    for (const item of ITEMS) for (const value of filter.values(item)) counts.set(value, (counts.get(value) ?? 0) + 1);
    const ordered = [...counts].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
    return { ...filter, counts: ordered };
  }).filter((filter) => filter.counts.length > 1 || (filter.counts.length === 1 && filter.counts[0][1] < ITEMS.length));
}

// The places of the items that pass every filter in `chosen` and hold every word of `chosen.q`, in the chosen order.
function select(chosen) {
  const active = FILTERS.filter((filter) => chosen[filter.key]);
  const words = (chosen.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (const [place, item] of ITEMS.entries()) {
    if (!active.every((filter) => filter.values(item).includes(chosen[filter.key]))) continue;
    const text = texts[place] ?? glance[place];
    if (words.every((word) => text.includes(word))) found.push(place);
  }
  const order = ORDERS.find((one) => one.key === (chosen.sort ?? ""));
  return order?.by ? found.sort((a, b) => order.by(ITEMS[b]) - order.by(ITEMS[a]) || a - b) : found;
}
