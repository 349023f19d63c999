// What is shown follows from the address: #overview, or #conversations?<filters>&open=<id>.

const PLACES = new Map(ITEMS.map((item, place) => [item.id, place]));
let chosen = {}; // filters, q, sort and open, as the address has them
let listed = null; // what the list was made for: `chosen` without `open`
let searches = 0;
let overviewTop = 0;

function go(changes) {
  const next = Object.fromEntries(Object.entries({ ...chosen, ...changes }).filter(([, value]) => value));
  const query = new URLSearchParams(next).toString();
  // The browser's way back leads from a conversation to the list, and from there to the overview.
  const further = $("browser").hidden || (next.open && !chosen.open);
  history[further ? "pushState" : "replaceState"](null, "", `#conversations${query ? `?${query}` : ""}`);
  route();
}

function route() {
  const [view, query] = location.hash.slice(1).split(/\?(.*)/s);
  const browsing = view === "conversations";
  const entering = browsing && $("browser").hidden;
  if (entering) overviewTop = scrollY;
  const returning = !browsing && $("overview").hidden;
  $("overview").hidden = browsing;
  $("browser").hidden = !browsing;
  $("skip").hidden = browsing;
  mark($("to-browser"), browsing);
  mark($("to-overview"), !browsing);
  if (returning) {
    const section = view === "overview" ? null : $(view);
    if (section) section.scrollIntoView();
    else scrollTo(0, overviewTop);
  }
  if (!browsing) return;
  chosen = Object.fromEntries(new URLSearchParams(query ?? ""));
  const wanted = JSON.stringify({ ...chosen, open: "" });
  if (wanted === listed) chooseRow(PLACES.get(chosen.open));
  else {
    listed = wanted;
    for (const field of document.querySelectorAll("#fields select")) {
      field.value = chosen[field.name] ?? "";
      field.classList.toggle("on", Boolean(field.value));
    }
    if ($("search").value !== (chosen.q ?? "")) $("search").value = chosen.q ?? "";
    refresh();
    if (current >= 0) reveal(current);
    searches += 1;
    if (chosen.q) searchMessages();
  }
  if (entering) $(PLACES.has(chosen.open) ? "reader" : "list").focus({ preventScroll: true });
  open();
}

function mark(link, here) {
  if (here) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}

function refresh(progress = 1) {
  const found = select(chosen);
  showList(found, PLACES.get(chosen.open));
  showPosition();
  const active = FILTERS.filter((filter) => chosen[filter.key]).length;
  $("active").textContent = active ? `${active} on` : "";
  $("clear").hidden = !active && !chosen.q;
  const total = plural(ITEMS.length, "conversation");
  const text = found.length === ITEMS.length ? total : `${number(found.length)} of ${total}`;
  $("found").textContent = progress < 1 ? `${text}, searching: ${Math.round(100 * progress)}%` : text;
}

async function searchMessages() {
  const mine = searches;
  let drawn = performance.now();
  await readAll((progress) => {
    if (mine !== searches || (progress < 1 && performance.now() - drawn < 150)) return;
    drawn = performance.now();
    refresh(progress);
  }, () => mine === searches);
}

function showPosition() {
  $("position").textContent = current < 0 ? "not in this list" : `${number(current + 1)} of ${number(places.length)}`;
}

async function open() {
  const reader = $("reader");
  const controls = reader.firstElementChild; // they stay, so that a button that was pressed keeps the focus
  const show = (...nodes) => {
    while (controls.nextSibling) controls.nextSibling.remove();
    reader.append(...nodes);
  };
  const place = PLACES.get(chosen.open);
  $("browser").classList.toggle("reading", place !== undefined);
  if (place === undefined) {
    delete reader.dataset.open;
    controls.hidden = true;
    const text = chosen.open ? `The conversation ${chosen.open} is not in this report. Choose another one.` : "Choose a conversation to read it here.";
    return void show(make("p", { class: "empty" }, ITEMS.length ? text : "No conversations yet: dvc repro teacher_rollouts records them."));
  }
  if (reader.dataset.open === chosen.open) return;
  const one = await record(place);
  if (PLACES.get(chosen.open) !== place) return; // another one was opened meanwhile
  reader.dataset.open = chosen.open;
  controls.hidden = false;
  show(...read(one, ITEMS[place]).filter(Boolean));
  $("unfold").hidden = !reader.querySelector(".call");
  reader.scrollTop = 0;
  showPosition();
  if (!$("list").offsetParent && !reader.contains(document.activeElement)) reader.focus(); // it has taken the list's place
}

function close() {
  go({ open: "" });
  $("list").focus();
}

function move(step) {
  jump(current < 0 ? 0 : current + step);
}

function jump(position) {
  if (!places.length) return;
  const within = Math.min(places.length - 1, Math.max(0, position));
  reveal(within);
  go({ open: ITEMS[places[within]].id });
}

function unfold() {
  const calls = [...document.querySelectorAll("#reader details.call")];
  const all = calls.every((call) => call.open);
  for (const call of calls) call.open = !all;
}

function field(label, name, options) {
  const node = make("select", { name }, options.map(([value, text]) => make("option", { value }, text)));
  node.addEventListener("change", () => { $("list").scrollTop = 0; go({ [name]: node.value }); });
  return make("label", {}, make("span", { class: "visually-hidden" }, label), node);
}

$("fields").append(
  ...choices().map((filter) => field(filter.label, filter.key, [["", filter.label], ...filter.counts.map(([value, count]) => [value, `${filter.name(value)} (${number(count)})`])])),
  field("Order", "sort", ORDERS.map((order) => [order.key, order.label])),
);
$("filters").open = innerHeight >= 800 && innerWidth >= 900;
$("list").addEventListener("scroll", () => requestAnimationFrame(drawRows), { passive: true });
$("rows").addEventListener("click", (event) => {
  const node = event.target.closest(".row");
  if (node) jump(Number(node.dataset.position));
});
for (const [id, act] of Object.entries({ back: close, previous: () => move(-1), next: () => move(1), unfold })) $(id).addEventListener("click", act);
$("search").addEventListener("input", () => { $("list").scrollTop = 0; go({ q: $("search").value }); });
$("clear").addEventListener("click", () => { chosen = { open: chosen.open }; go({}); $("search").focus(); });
addEventListener("hashchange", route);
addEventListener("resize", drawRows);
route();
