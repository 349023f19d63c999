// The list: however long it is, only the rows in sight are in the document.

const ROW_HEIGHT = 76;
const ROWS_BEYOND = 6;
let places = []; // of the listed items, in order
let current = -1; // position in `places` of the open conversation
let drawn = new Map(); // the rows in the document, by item

function showList(found, openPlace) {
  places = found;
  current = places.indexOf(openPlace);
  $("rows").style.height = `${places.length * ROW_HEIGHT}px`;
  drawRows();
}

function chooseRow(place) {
  current = places.indexOf(place);
  drawRows();
}

function drawRows() {
  const list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - ROWS_BEYOND);
  const last = Math.min(places.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_HEIGHT) + ROWS_BEYOND);
  const rows = new Map();
  for (let position = first; position < last; position += 1) {
    const place = places[position];
    const node = drawn.get(place) ?? row(ITEMS[place]);
    lay(node, position);
    rows.set(place, node);
  }
  for (const [place, node] of drawn) if (!rows.has(place)) node.remove();
  // A row that stays is never taken out: a browser forgets a click whose row left the document while the button was down.
  let next = $("rows").firstChild;
  for (const node of rows.values()) {
    if (node === next) next = node.nextSibling;
    else $("rows").insertBefore(node, next);
  }
  drawn = rows;
  if (current >= first && current < last) list.setAttribute("aria-activedescendant", `row-${current}`);
  else list.removeAttribute("aria-activedescendant");
}

function row(item) {
  return make(
    "div",
    { class: "row", role: "option" },
    make("span", { class: "question", dir: "auto" }, item.question || "(no user message)"),
    make("span", { class: "about" }, about(item)),
  );
}

function lay(node, position) {
  node.id = `row-${position}`;
  node.dataset.position = position;
  node.setAttribute("aria-selected", position === current);
  node.setAttribute("aria-setsize", places.length);
  node.setAttribute("aria-posinset", position + 1);
  node.style.transform = `translateY(${position * ROW_HEIGHT}px)`;
}

function about(item) {
  const parts = [];
  if (item.fate === "held_out") {
    for (const who of ["base", "student", "teacher"]) {
      if (who in item.correct) parts.push(make("span", { class: `mark ${verdict(item.correct[who])} ${who}` }, `${who} ${verdict(item.correct[who])}`));
    }
    return parts;
  }
  parts.push(make("span", { class: `mark ${item.fate}` }, WORDS.fate[item.fate]));
  if (item.why.length) parts.push(make("span", {}, item.why.map((check) => WORDS.why[check].toLowerCase()).join(", ")));
  else if (item.fate === "failed") parts.push(make("span", {}, (WORDS.stop[item.stop] ?? item.stop).toLowerCase()));
  parts.push(make("span", {}, plural(item.turns, "turn")));
  if (item.sample) parts.push(make("span", {}, `sample ${item.sample}`));
  return parts;
}

function reveal(position) {
  const list = $("list");
  const top = position * ROW_HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW_HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_HEIGHT - list.clientHeight;
}
