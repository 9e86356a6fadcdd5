// Shows the model card: name, size, measured accuracy, license, training recipe.

import { $, create } from "./dom.js";

const FIRST_FIELDS = ["name", "parameters", "multiply_adds", "validation_accuracy", "corpus", "clips", "license",
  "attribution", "command"];
const LAST_FIELDS = ["recipe"];

/** Format a field's value for people. */
function formatField(key, value) {
  if (key === "corpus" && Array.isArray(value)) { // folder names, which can repeat
    const count = (name) => value.filter((other) => other === name).length;
    return [...new Set(value)].map((name) => (count(name) > 1 ? `${name} ×${count(name)}` : name)).join(", ");
  }
  if (Array.isArray(value)) return value.map((part) => formatField(key, part)).join(key === "attribution" ? "\n" : ", ");
  if (value && typeof value === "object")
    return Object.entries(value).map(([name, part]) => `${name.replaceAll("_", " ")} ${formatField(name, part)}`).join(" · ");
  if (typeof value !== "number") return String(value);
  if (/accuracy|found|confused|accepted/.test(key)) return `${(100 * value).toFixed(1)}%`;
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(4)));
}

/** Fill the model card section. */
export function showModelCard(card) {
  const rank = (key) => (FIRST_FIELDS.includes(key) ? FIRST_FIELDS.indexOf(key) : 100 + LAST_FIELDS.indexOf(key));
  const fields = { name: card.name, window: `${card.window / card.sample_rate} s at ${card.sample_rate / 1000} kHz`, ...card.fields };
  const list = $("model-card").querySelector("dl");
  list.replaceChildren();
  for (const key of Object.keys(fields).sort((a, b) => rank(a) - rank(b))) {
    const text = formatField(key, fields[key]), value = create("dd", { textContent: text });
    if (key === "command" && text.includes("\n")) {
      const lineCount = create("summary", { textContent: `${text.split("\n").length} lines` });
      value.replaceChildren(create("details", {}, lineCount, create("pre", { textContent: text })));
    }
    list.append(create("dt", { textContent: key.replaceAll("_", " ") }), value);
  }
}
