// Elements are made here and nowhere else, and text only ever becomes textContent: nothing in a record can run.

const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const number = (value) => value.toLocaleString("en-US");
const dollars = (value) => (value === 0 ? "$0" : "$" + (value < 1 ? value.toPrecision(2) : value.toFixed(2)));
const plural = (count, one, many = one + "s") => `${number(count)} ${count === 1 ? one : many}`;

function verdict(correct) {
  if (correct === undefined || correct === null) return "unchecked";
  return correct === "mixed" ? correct : correct ? "correct" : "wrong";
}
