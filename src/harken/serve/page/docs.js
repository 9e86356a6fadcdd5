// Adds the HTTP endpoints that openapi.json describes to the page.

import { $, create } from "./dom.js";

function endpointSection(method, path, { summary, requestBody, responses }) {
  const table = create("table", {}, create("caption", { textContent: "Responses" }));
  for (const [status, { description }] of Object.entries(responses))
    table.insertRow().append(create("td", { textContent: status }), create("td", { textContent: description }));
  const name = create("span", { className: "method", textContent: method.toUpperCase() });
  const section = create("section", { className: "panel endpoint" }, create("h2", {}, name, path), create("p", { textContent: summary }));
  if (requestBody) section.append(create("p", { textContent: `Body: ${Object.keys(requestBody.content).join(" or ")}` }));
  section.append(table);
  return section;
}

const { paths } = await (await fetch("openapi.json")).json();
for (const [path, methods] of Object.entries(paths))
  for (const [method, operation] of Object.entries(methods)) $("endpoints").append(endpointSection(method, path, operation));
