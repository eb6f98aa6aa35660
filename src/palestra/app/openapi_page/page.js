// Shows openapi.json to people: one entry for each operation, opened by a click or by its name in the address.

const METHODS = ["get", "post", "put", "delete"];
const DEPTH_MAX = 4;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const code = (text) => element("code", {}, text);
const soft = (text) => element("span", { class: "soft" }, text);

function resolved(schema, api) {
  return schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema;
}

function typeOf(schema, api) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return [...new Set(schema.anyOf.map((one) => typeOf(one, api)))].join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(", ");
  if (schema.type === "array") return `list of ${schema.items ? typeOf(schema.items, api) : "anything"}`;
  const { additionalProperties: values } = schema;
  if (values && typeof values === "object") return `map of ${typeOf(values, api)}`;
  if (schema.contentMediaType) return "JSON as text";
  const type = [].concat(schema.type ?? "anything").join(" or ");
  return schema.format ? `${type} (${schema.format})` : type;
}

function inner(schema, api) {
  const here = schema.anyOf ? schema.anyOf.find((one) => one.$ref) ?? schema : schema;
  return resolved(here.items ?? here, api);
}

function fields(schema, api, depth = 0) {
  const list = element("ul", { class: "fields" });
  for (const [name, field] of Object.entries(inner(schema, api).properties ?? {})) {
    const row = element("li", {}, code(name), " ", soft(typeOf(field, api)));
    if (depth < DEPTH_MAX && inner(field, api).properties) row.append(fields(field, api, depth + 1));
    list.append(row);
  }
  return list;
}

function shape(title, content, api) {
  const schema = content["application/json"].schema;
  const about = resolved(schema, api).description;
  const parts = [element("h3", {}, title), element("p", {}, code(typeOf(schema, api)))];
  if (about) parts.push(element("p", { class: "soft" }, about));
  return [...parts, fields(schema, api)];
}

function parameters(given) {
  const list = element("ul", { class: "fields" });
  for (const one of given) {
    const type = one.schema.type === "array" ? `list of ${one.schema.items.type}, repeated` : one.schema.type;
    list.append(element("li", {}, code(one.name), " ", soft(`${type}, in the ${one.in}`)));
  }
  return [element("h3", {}, "Parameters"), list];
}

function answers(responses, api) {
  const list = element("ul", { class: "fields" });
  for (const [status, answer] of Object.entries(responses)) {
    if (status !== "200") list.append(element("li", {}, code(status === "default" ? "other" : status), " ", soft(answer.description)));
  }
  const fine = responses["200"];
  return [...(fine ? shape("Answer", fine.content, api) : []), element("h3", {}, "Refusals"), list];
}

function operation(method, path, told, api) {
  const keys = told.security.map((one) => Object.keys(one).join(" and ")).join(", or ") || "nothing";
  const inside = element("div", { class: "inside" });
  const made = element(
    "details", { id: told.operationId },
    element(
      "summary", {},
      element("span", { class: "method" }, method.toUpperCase()), code(path),
      element("span", { class: "says" }, told.summary ?? ""),
    ),
    inside,
  );
  made.addEventListener("toggle", () => {
    if (!made.open || inside.childElementCount) return;
    inside.append(element("p", {}, code(told.operationId), " ", soft(`asks for ${keys}`)));
    if (told.description) inside.append(element("p", {}, told.description));
    if (told.parameters) inside.append(...parameters(told.parameters));
    if (told.requestBody) inside.append(...shape("Body", told.requestBody.content, api));
    inside.append(...answers(told.responses, api));
  });
  made.dataset.words = `${told.operationId} ${method} ${path} ${told.summary ?? ""}`.toLowerCase();
  return made;
}

function show(api) {
  document.title = `${api.info.title}: operations`;
  document.getElementById("about").textContent = api.info.description;
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((one) => methods[one])) {
      const [tag] = methods[method].tags;
      if (!groups.has(tag)) groups.set(tag, element("section", {}, element("h2", {}, tag)));
      groups.get(tag).append(operation(method, path, methods[method], api));
    }
  }
  document.getElementById("operations").replaceChildren(...groups.values());
}

function narrow() {
  const words = document.getElementById("find").value.toLowerCase().split(/\s+/);
  let count = 0;
  for (const section of document.querySelectorAll("section")) {
    let here = 0;
    for (const one of section.querySelectorAll("details")) {
      one.hidden = !words.every((word) => one.dataset.words.includes(word));
      here += one.hidden ? 0 : 1;
    }
    section.hidden = here === 0;
    count += here;
  }
  document.getElementById("count").textContent = `${count} ${count === 1 ? "operation" : "operations"}`;
}

function jump() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) {
    named.open = true;
    named.scrollIntoView();
  }
}

try {
  const answer = await fetch("../openapi.json");
  if (!answer.ok) throw new Error(`openapi.json: status ${answer.status}`);
  show(await answer.json());
  narrow();
  jump();
  document.getElementById("find").addEventListener("input", narrow);
  window.addEventListener("hashchange", jump);
} catch (error) {
  document.getElementById("operations").textContent = `The operations could not be read: ${error.message}`;
}
