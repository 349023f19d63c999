// The index is parsed at once; the conversations lie in chunks that are parsed when one of theirs is read.

const INDEX = JSON.parse($("index").textContent);
const ITEMS = INDEX.items;
const WORDS = INDEX.words;
const chunks = new Map();
const texts = new Array(ITEMS.length); // all words of a conversation in lower case, once it has been searched

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
      const { tools, ...words } = one; // the tools offered are the same everywhere
      texts[start + offset] = [...strings(words)].join("\n").toLowerCase();
    }
    await new Promise((next) => setTimeout(next));
    progress((number + 1) / last);
  }
}
