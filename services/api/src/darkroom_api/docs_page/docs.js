"use strict";
// Renders openapi.json and sends requests. No library, nothing from elsewhere.
let token = "";
const $ = (id) => document.getElementById(id);

function node(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function table(head, rows) {
  const made = node("table");
  const top = made.appendChild(node("tr"));
  head.forEach((text) => top.appendChild(node("th", text)));
  rows.forEach((cells) => {
    const row = made.appendChild(node("tr"));
    cells.forEach((cell) => {
      const data = row.appendChild(node("td"));
      data.append(cell);
    });
  });
  return made;
}

function resolve(document_, schema, depth = 0) {
  // The schema with its references filled in, as far as a reader wants to see.
  if (!schema || depth > 6) return schema;
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return resolve(document_, document_.components.schemas[name], depth + 1);
  }
  if (Array.isArray(schema)) return schema.map((one) => resolve(document_, one, depth + 1));
  if (typeof schema !== "object") return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key, resolve(document_, value, depth + 1)]));
}

async function send(method, path, inputs, body, output) {
  let url = path;
  const query = new URLSearchParams();
  for (const { name, place, input } of inputs) {
    if (place === "path") url = url.replace(`{${name}}`, encodeURIComponent(input.value));
    else if (input.value) query.append(name, input.value);
  }
  if ([...query].length) url += `?${query}`;
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  output.textContent = "…";
  try {
    const answer = await fetch(url.replace(/^\//, ""), {
      method, headers, body: body ? body.value : undefined });
    const kind = answer.headers.get("content-type") || "";
    let text;
    if (kind.includes("json")) text = JSON.stringify(await answer.json(), null, 2);
    else if (kind.startsWith("text/")) text = await answer.text();
    else text = `${(await answer.blob()).size} bytes of ${kind}`;
    output.textContent = `${answer.status} ${answer.statusText}\n\n${text}`;
  } catch (error) {
    output.textContent = String(error);
  }
}

function operation(document_, path, method, about) {
  const box = node("details");
  const line = box.appendChild(node("summary"));
  line.append(node("span", method.toUpperCase(), { class: "method" }));
  line.append(node("span", path, { class: "path" }));
  line.append(node("span", `  ${about.summary || ""}`, { class: "what" }));
  if (about.description) box.append(node("p", about.description));
  box.append(node("p", `Needs: ${about["x-permission"]}`));
  const inputs = [];
  const rows = (about.parameters || []).map((one) => {
    const input = node("input", undefined, { "aria-label": one.name });
    inputs.push({ name: one.name, place: one.in, input });
    return [node("code", one.name), one.in, one.description || "", input];
  });
  if (rows.length) box.append(table(["Parameter", "in", "", "Value"], rows));
  let body = null;
  const content = about.requestBody && about.requestBody.content["application/json"];
  if (content) {
    const schema = resolve(document_, content.schema);
    const example = Object.fromEntries(Object.keys(schema.properties || {}).map((key) => [key, ""]));
    body = node("textarea", JSON.stringify(example, null, 2), { "aria-label": "body" });
    box.append(node("p", "Body"), body);
  }
  const output = node("pre", "");
  const button = node("button", "Send");
  button.addEventListener("click", () => send(method.toUpperCase(), path, inputs, body, output));
  box.append(button, output);
  const answers = Object.entries(about.responses || {}).map(([status, answer]) => {
    const cell = node("div");
    for (const [kind, one] of Object.entries(answer.content || {})) {
      const inner = node("details");
      inner.append(node("summary", kind));
      inner.append(node("pre", JSON.stringify(resolve(document_, one.schema), null, 2)));
      cell.append(inner);
    }
    return [node("code", status), answer.description || "", cell];
  });
  box.append(table(["Answer", "", "Body"], answers));
  return box;
}

async function show() {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch("openapi.json", { headers });
  if (!answer.ok) {
    $("about").textContent = "Sign in to read the documentation.";
    return;
  }
  const document_ = await answer.json();
  $("about").textContent = `${document_.info.description} Version ${document_.info.version}.`;
  const groups = new Map();
  for (const [path, operations] of Object.entries(document_.paths)) {
    for (const [method, about] of Object.entries(operations)) {
      const tag = (about.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(document_, path, method, about));
    }
  }
  const main = $("operations");
  main.replaceChildren();
  for (const [tag, boxes] of groups) main.append(node("h2", tag), ...boxes);
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("api/v1/auth/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username: $("username").value, password: $("password").value }),
  });
  const body = await answer.json();
  token = answer.ok ? body.access_token : "";
  $("password").value = "";
  $("signed").textContent = answer.ok ? `Signed in as ${body.user.username}` : body.error.message;
  await show();
});
show();
