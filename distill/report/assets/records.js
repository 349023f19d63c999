// The index is parsed at once; the conversations lie in chunks that are parsed when one of theirs is read.

const INDEX = JSON.parse($("index").textContent);
const ITEMS = INDEX.items;
const WORDS = INDEX.words;
const chunks = new Map();
const texts = new Array(ITEMS.length); // what a search finds in a conversation, in lower case, once it has been searched

const parsed = new Promise((done) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", done, { once: true });
  else done();
});

async function chunk(number) {
  await parsed; // before that, an element may hold half of its text
  if (!chunks.has(number)) chunks.set(number, JSON.parse($(`chunk-${number}`).textContent));
  return chunks.get(number);
}

async function record(place) {
  return (await chunk(Math.floor(place / INDEX.chunk)))[place % INDEX.chunk];
}

function* strings(value) {
  if (typeof value === "string") yield value;
  else if (typeof value === "number") yield String(value);
  else if (value && typeof value === "object") for (const part of Object.values(value)) yield* strings(part);
}

// What a search finds in a conversation: what was said and called, the answers and the ids; not the names of fates, stop
// reasons and faults, which the filters have.
function* searched(one) {
  yield* strings([one.id, one.prompt_id, one.source, one.metadata.expected_answer, one.talks.map((talk) => talk.answer)]);
  for (const message of [one.prompt, ...one.talks.map((talk) => talk.messages)].flat()) {
    yield* strings([message.content, message.reasoning_content, message.refusal]);
    for (const { function: call } of message.tool_calls ?? []) yield* [call.name, pretty(call.arguments)];
  }
}

// What can be found at once, before the messages have been read.
const glance = ITEMS.map((item) => `${item.question}\n${item.answer}\n${item.id}\n${item.tools.join("\n")}`.toLowerCase());

// Makes the words of every conversation searchable, chunk by chunk, telling `progress` how far it is. Returns early
// when `wanted` says that nobody waits for it any more.
async function readAll(progress, wanted) {
  const last = Math.ceil(ITEMS.length / INDEX.chunk);
  for (let number = 0; number < last && wanted(); number += 1) {
    const start = number * INDEX.chunk;
    if (texts[start] !== undefined) continue;
    for (const [offset, one] of (await chunk(number)).entries()) {
      texts[start + offset] = [...searched(one)].join("\n").toLowerCase();
    }
    await new Promise((next) => setTimeout(next));
    progress((number + 1) / last);
  }
}
