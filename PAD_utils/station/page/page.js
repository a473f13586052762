"use strict";
// The page of the station: sends photographs, shows answers as they come, the history, and what a person says of it.
const $ = (selector, root = document) => root.querySelector(selector);
const CSS = { OK: "ok", DEFECT: "defect", "NOT LOCALISED": "lost" };
const AT_ONCE = 2, PAGE = 24, MOST_CARDS = 240;
const filter = { decision: "", mistakes: false };
const cards = new Map();
let oldest = null;

const ask = async (address, options) => {
  const answer = await fetch(address, options);
  const content = await answer.json().catch(() => ({ error: `the station answered ${answer.status}` }));
  if (!answer.ok) throw new Error(content.error);
  return content;
};

// Sending.
const waiting = [];
let sending = 0;

const note = (text, css) => {
  const line = Object.assign(document.createElement("li"), { textContent: text, className: css });
  $("#sending").prepend(line);
  return line;
};

const send = (files) => {
  const groups = $("#together").checked ? [files] : files.map((file) => [file]);
  for (const group of groups) waiting.push([group, note(`${group.map((file) => file.name).join(", ")}: waiting`, "muted")]);
  next();
};

const next = async () => {
  if (sending >= AT_ONCE || !waiting.length) return;
  const [group, line] = waiting.shift(), form = new FormData();
  for (const file of group) form.append("picture", file);
  if ($("#class").value) form.append("class", $("#class").value);
  const names = group.map((file) => file.name).join(", ");
  line.textContent = `${names}: being inspected`;
  sending += 1;
  next();
  try {
    show(await ask("/inspect", { method: "POST", body: form }), true);
    line.remove();
  } catch (error) {
    [line.textContent, line.className] = [error.message.startsWith(names) ? error.message : `${names}: ${error.message}`, "problem"];
  }
  sending -= 1;
  next();
};

const drop = $("#drop");
for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const kind of ["dragleave", "drop"]) addEventListener(kind, (event) => { event.preventDefault(); drop.classList.remove("over"); });
addEventListener("drop", (event) => { if (event.dataTransfer.files.length) send([...event.dataTransfer.files]); });
$("#choose").addEventListener("change", (event) => { send([...event.target.files]); event.target.value = ""; });

// Cards.
const wanted = (part) => filter.mistakes ? mistaken(part) : !filter.decision || (part.decision || "undecided") === filter.decision;
const mistaken = (part) => (part.decision === "DEFECT" && part.label === "good") || (part.decision === "OK" && part.label === "defective");
const short = (value) => value === null ? "–" : Number(value).toPrecision(3);

const fill = (card, part) => {
  const css = CSS[part.decision] || "none", mistake = $(".mistake", card);
  card.className = `card ${css}`;
  $(".pill", card).textContent = part.decision || "undecided";
  $(".pill", card).className = `pill ${css}`;
  $("h2", card).textContent = part.photographs.map((photograph) => photograph.name).join(", ");
  $(".when", card).textContent = `${part.class || "not recognized"}, ${new Date(part.at).toLocaleString()}`;
  $(".figures", card).textContent = `score ${short(part.score)}, threshold ${short(part.threshold)}`;
  $(".meter i", card).style.width = `${part.threshold ? Math.min(100, Math.max(0, 50 * part.score / part.threshold)) : 0}%`;
  [mistake.hidden, mistake.textContent] = [!mistaken(part), part.label === "good" ? "false alarm" : "missed"];
  for (const button of card.querySelectorAll("[data-label]")) button.setAttribute("aria-pressed", button.dataset.label === part.label);
};

const shot = (photograph, gone) => {
  const figure = $("#shot").content.cloneNode(true), frame = $(".frame", figure);
  for (const kind of ["photograph", "rendering", "heat"]) if (!gone) $(`.${kind}`, figure).src = photograph[kind];
  if (gone) frame.textContent = "its pictures were removed";
  frame.style.aspectRatio = `${photograph.width} / ${photograph.height}`;
  for (const region of photograph.regions) {
    const box = Object.assign(document.createElement("i"), { className: "box", title: `score ${short(region.peak)}` });
    for (const [side, key, of] of [["left", "left", "width"], ["top", "top", "height"], ["width", "width", "width"], ["height", "height", "height"]])
      box.style[side] = `${100 * region[key] / photograph[of]}%`;
    frame.append(box);
  }
  const look = () => frame.dataset.look = { undefined: "photograph", photograph: "rendering" }[frame.dataset.look] || "";
  frame.title = "press: photograph, a good part from there, heat map";
  frame.addEventListener("click", () => { look(); if (!frame.dataset.look) delete frame.dataset.look; $(".rendering", frame).hidden = frame.dataset.look !== "rendering"; });
  const said = photograph.reason ? `: ${photograph.reason}` : "";
  $("figcaption", figure).textContent = `${photograph.decision || "undecided"}${said}`;
  return figure;
};

const show = (part, first) => {
  const known = cards.get(part.id);
  if (known) return fill(known.card, Object.assign(known.part, part));
  if (!wanted(part)) return;
  const card = $("#card").content.cloneNode(true).firstElementChild;
  fill(card, part);
  $(".shots", card).append(...part.photographs.map((photograph) => shot(photograph, part.has_pictures === false)));
  card.addEventListener("click", (event) => { if (event.target.dataset.label) mark(part, event.target.dataset.label); });
  cards.set(part.id, { card, part });
  $("#parts")[first ? "prepend" : "append"](card);
  if (first && cards.size > MOST_CARDS) forget();
  $("#nothing").hidden = true;
};

const forget = () => {
  const last = $("#parts").lastElementChild;
  for (const [id, { card, part }] of cards) if (card === last) { cards.delete(id); oldest = null; $("#more").hidden = true; }
  last.remove();
};

const mark = async (part, label) => {
  const body = JSON.stringify({ label: part.label === label ? null : label });
  try {
    show(await ask(`/parts/${part.id}/label`, { method: "POST", headers: { "content-type": "application/json" }, body }));
    soon();
  } catch (error) { note(error.message, "problem"); }
};

// History.
const older = async (fresh) => {
  if (fresh) { oldest = null; cards.clear(); $("#parts").replaceChildren(); }
  const query = new URLSearchParams({ limit: PAGE });
  if (filter.decision) query.set("decision", filter.decision);
  if (filter.mistakes) query.set("mistakes", "true");
  if (oldest !== null) query.set("before", oldest);
  const found = await ask(`/parts?${query}`);
  found.forEach((part) => show(part, false));
  if (found.length) oldest = found.at(-1).number;
  $("#more").hidden = found.length < PAGE;
  $("#nothing").hidden = cards.size > 0;
};

$("#more").addEventListener("click", () => older(false));
$("#chips").addEventListener("click", (event) => {
  if (event.target.tagName !== "BUTTON") return;
  for (const chip of $("#chips").children) chip.setAttribute("aria-pressed", chip === event.target);
  [filter.decision, filter.mistakes] = [event.target.dataset.decision || "", event.target.dataset.mistakes === "true"];
  older(true);
});

// Statistics, at most once a second.
let planned = null;
const soon = () => { planned = planned || setTimeout(() => { planned = null; count(); }, 1000); };
const count = async () => {
  if (!$("#counted").value) return;
  const query = new URLSearchParams({ class: $("#counted").value, hours: $("#hours").value });
  const found = await ask(`/statistics?${query}`).catch(() => null);
  if (!found) return;
  charts.draw($("#chart"), found);
  charts.numbers($("#numbers"), found);
  warn("drift", found.drift.warning);
};
for (const id of ["#counted", "#hours"]) $(id).addEventListener("change", count);

const warn = (kind, text) => {
  const list = $("#warnings"), old = list.querySelector(`[data-kind="${kind}"]`);
  if (old) old.remove();
  if (text) list.prepend(Object.assign(document.createElement("li"), { textContent: text }));
  if (text) list.firstChild.dataset.kind = kind;
  list.hidden = !list.children.length;
};

// Told by the station.
const begin = async () => {
  const { classes, devices } = await ask("/health");
  const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });
  $("#class").replaceChildren(...(classes.length > 1 ? [option("", "recognize it")] : []), ...classes.map((name) => option(name, name)));
  $("#counted").replaceChildren(...classes.map((name) => option(name, name)));
  const told = new EventSource("/events");
  told.addEventListener("open", () => {
    $("#state").textContent = `${classes.join(", ")} on ${devices.join(", ")}`;
    older(true);
    count();
  });
  told.addEventListener("error", () => { $("#state").textContent = "the station does not answer; trying again"; });
  told.addEventListener("part", (event) => { show(JSON.parse(event.data), true); soon(); });
  told.addEventListener("label", (event) => {
    const { id, label } = JSON.parse(event.data), known = cards.get(id);
    if (known) fill(known.card, Object.assign(known.part, { label }));
    soon();
  });
  told.addEventListener("problem", (event) => warn("problem", JSON.parse(event.data).problem));
};
begin().catch((error) => { $("#state").textContent = error.message; });
