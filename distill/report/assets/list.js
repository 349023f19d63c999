// The list: however long it is, only the rows in sight are in the document.

const ROW_HEIGHT = 76;
const ROWS_BEYOND = 6;
let places = []; // of the listed items, in order
let current = -1; // position in `places` of the open conversation

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
  const rows = [];
  for (let position = first; position < last; position += 1) rows.push(row(position));
  $("rows").replaceChildren(...rows);
  if (current >= first && current < last) list.setAttribute("aria-activedescendant", `row-${current}`);
  else list.removeAttribute("aria-activedescendant");
}

function row(position) {
  const item = ITEMS[places[position]];
  const node = make(
    "div",
    {
      id: `row-${position}`,
      class: "row",
      role: "option",
      "aria-selected": String(position === current),
      "aria-setsize": places.length,
      "aria-posinset": position + 1,
      "data-position": position,
    },
    make("span", { class: "question", dir: "auto" }, item.question || "(no user message)"),
    make("span", { class: "about" }, about(item)),
  );
  node.style.transform = `translateY(${position * ROW_HEIGHT}px)`;
  return node;
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
  return parts;
}

function reveal(position) {
  const list = $("list");
  const top = position * ROW_HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW_HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_HEIGHT - list.clientHeight;
}
