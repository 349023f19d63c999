// The keyboard: one table for the whole page, one for the list, one for the search box.

function leave() {
  const search = $("search");
  if (document.activeElement === search && search.value) go({ q: "" });
  else if (!$("list").offsetParent) close(); // a narrow window shows the conversation in its place
  else if (document.activeElement !== $("list")) $("list").focus();
  else if (chosen.open) go({ open: "" });
  else location.hash = "#overview";
}

function toSearch() {
  if ($("browser").hidden) go({});
  $("search").select();
}

const PAGE_KEYS = { j: () => move(1), k: () => move(-1), t: unfold };
const LIST_KEYS = {
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  PageDown: () => move(10),
  PageUp: () => move(-10),
  Home: () => jump(0),
  End: () => jump(places.length - 1),
  Enter: () => $("reader").focus(),
};
const SEARCH_KEYS = {
  ArrowDown: () => $("list").focus(),
  Enter: () => { $("list").focus(); if (current < 0) move(1); },
};

function actOf(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  const browsing = !$("browser").hidden;
  if (event.key === "Escape") return browsing ? leave : undefined;
  if (event.target === $("search")) return SEARCH_KEYS[event.key];
  if (event.target.matches("select")) return undefined;
  if (event.key === "/") return toSearch;
  if (event.target === $("list") && event.key in LIST_KEYS) return LIST_KEYS[event.key];
  return browsing ? PAGE_KEYS[event.key] : undefined;
}

addEventListener("keydown", (event) => {
  const act = actOf(event);
  if (!act) return;
  event.preventDefault();
  act();
});
