// What openapi.json says, as a page.

const { paths } = await (await fetch("openapi.json")).json();
const element = (name, text = "") => Object.assign(document.createElement(name), { textContent: text });
for (const [path, methods] of Object.entries(paths))
  for (const [method, { summary, requestBody, responses }] of Object.entries(methods)) {
    const section = element("section"), table = element("table");
    section.append(element("h2", `${method.toUpperCase()} ${path}`), element("p", summary));
    if (requestBody) section.append(element("p", `Body: ${Object.keys(requestBody.content).join(" or ")}`));
    for (const [status, { description }] of Object.entries(responses)) {
      const row = table.insertRow();
      row.append(element("td", status), element("td", description));
    }
    section.append(table);
    document.getElementById("paths").append(section);
  }
