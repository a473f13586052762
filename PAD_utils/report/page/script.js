"use strict";
(() => {
  const all = [...document.querySelectorAll(".card")];
  const facts = new Map(all.map((card) => [card, JSON.parse(card.querySelector("script").textContent)]));
  const element = (name, attributes = {}, children = []) => {
    const svg = ["svg", "rect", "path", "circle", "text", "title"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  // The photograph lies dimmed under its heat map; it is on the page once, so the second place borrows its address.
  for (const card of all) {
    const { w, h } = facts.get(card);
    card.style.setProperty("--ratio", w / h);
    const glow = card.querySelector(".heat .glow");
    if (glow) glow.before(element("img", { class: "under", alt: "", src: card.querySelector(".query").src }));
  }

  document.getElementById("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
    document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  });

  // Filter and order.
  const list = document.getElementById("cards");
  const kind = document.getElementById("kind");
  const order = document.getElementById("order");
  let shown = [...all];
  let show = "all";
  const compare = {
    concern: (a, b) => b.dataset.concern - a.dataset.concern,
    score: (a, b) => b.dataset.score - a.dataset.score,
    name: (a, b) =>
      a.dataset.kind.localeCompare(b.dataset.kind) ||
      a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true }),
  };
  const arrange = () => {
    const key = order.value.replace("-", "");
    const sign = order.value.startsWith("-") ? -1 : 1;
    const wanted = (card) =>
      (show === "all" || (show === "mistake" ? card.dataset.mistake : card.dataset.css === show)) &&
      (!kind || !kind.value || card.dataset.kind === kind.value);
    const sorted = [...all].sort((a, b) => sign * compare[key](a, b));
    for (const card of sorted) card.hidden = !wanted(card);
    list.append(...sorted);
    shown = sorted.filter((card) => !card.hidden);
    document.getElementById("nothing").hidden = shown.length > 0;
  };
  const chips = [...document.querySelectorAll("[data-show]")];
  for (const chip of chips)
    chip.addEventListener("click", () => {
      show = chip.dataset.show;
      for (const other of chips) other.setAttribute("aria-pressed", other === chip);
      arrange();
    });
  for (const select of [kind, order]) if (select) select.addEventListener("change", arrange);

  // Other decisions, card by card, of another threshold.
  document.addEventListener("decided", ({ detail }) => {
    for (const [card, decision] of detail) Object.assign(facts.get(card), decision);
    for (const chip of chips) {
      const kind = chip.dataset.show;
      const count = all.filter((card) => kind === "all" || (kind === "mistake" ? card.dataset.mistake : card.dataset.css === kind)).length;
      chip.querySelector("b").textContent = count;
      chip.hidden = !count;
    }
    arrange();
  });

  // The viewer: photograph and rendering on top of each other, heat map, boxes and ground truth over them.
  const viewer = document.getElementById("viewer");
  const frame = viewer.querySelector(".frame");
  const heat = document.getElementById("heat");
  let current = null;
  let base = "query";
  const apply = () => {
    const has = Boolean(current.querySelector("img.rendering"));
    if (!has) base = "query";
    frame.className = "frame" + (base === "difference" ? " difference" : base === "blink" ? " blinking" : "");
    for (const button of viewer.querySelectorAll("[data-base]")) {
      button.setAttribute("aria-pressed", button.dataset.base === base);
      button.hidden = !has;
    }
    const first = frame.querySelector(".base");
    first.src = current.querySelector(base === "rendering" ? "img.rendering" : "img.query").src;
    frame.style.setProperty("--dim", heat.value);
    for (const [id, mark] of [["boxes", ".box"], ["truth", ".truth"]])
      for (const node of frame.querySelectorAll(mark)) node.style.display = document.getElementById(id).checked ? "" : "none";
  };
  const open = (card, view) => {
    current = card;
    const { w, h, decision, css, score, mistake, sentence, regions, pose } = facts.get(card);
    frame.replaceChildren(element("img", { class: "base", alt: "enlarged picture" }));
    frame.style.setProperty("--ratio", w / h);
    for (const [from, to] of [["img.rendering", "over2"], ["img.glow", "glow"]]) {
      const source = card.querySelector(from);
      if (source) frame.append(element("img", { class: to, alt: "", src: source.src }));
    }
    const marks = element("svg", { viewBox: `0 0 ${w} ${h}`, preserveAspectRatio: "none" });
    for (const mark of card.querySelectorAll(".truth, .box")) marks.append(mark.cloneNode());
    frame.append(marks);
    const truth = document.getElementById("truth");
    truth.parentNode.hidden = !card.querySelector(".truth");
    document.getElementById("boxes").parentNode.hidden = !regions.length;
    heat.parentNode.hidden = !card.querySelector(".glow");
    if (view) {
      base = view === "rendering" ? "rendering" : "query";
      heat.value = view === "heat" ? 1 : 0;
      if (view === "mask") truth.checked = true;
    }
    viewer.querySelector("h2").textContent = `${card.dataset.kind}/${card.dataset.name}`;
    const state = viewer.querySelector(".state");
    state.replaceChildren();
    if (decision) state.append(element("span", { class: `pill ${css}` }, [decision]));
    if (mistake) state.append(element("span", { class: "mistake" }, [mistake]));
    if (score) state.append("score ", element("b", {}, [score]));
    viewer.querySelector(".why").textContent = sentence;
    const row = (cell, values) => element("tr", {}, values.map((v, i) => element(cell, i ? { class: "n" } : {}, [v])));
    viewer.querySelector(".regions").replaceChildren(
      ...(regions.length
        ? [
            element("thead", {}, [row("th", ["Region at", "size", "area px", "peak"])]),
            element("tbody", {}, regions.map((r) => row("td", [`${r.x}, ${r.y}`, `${r.w}×${r.h}`, `${r.area}`, r.peak]))),
          ]
        : []),
    );
    viewer.querySelector(".pose").textContent = pose || "";
    const fly = viewer.querySelector('[data-do="fly"]');
    if (fly) fly.hidden = !pose;
    document.getElementById("place").textContent = `${shown.indexOf(card) + 1} of ${shown.length}`;
    apply();
    if (!viewer.open) viewer.showModal();
  };
  document.addEventListener("show-picture", (event) => open(document.getElementById(`card${event.detail}`), "query"));
  const step = (by) => open(shown[(shown.indexOf(current) + by + shown.length) % shown.length], null);
  list.addEventListener("click", (event) => {
    const shot = event.target.closest("button.shot");
    if (shot) open(shot.closest(".card"), shot.dataset.view);
  });
  viewer.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { do: action, base: chosen } = button.dataset;
    if (action === "close") viewer.close();
    else if (action === "fly") {
      viewer.close();
      document.dispatchEvent(new CustomEvent("fly-to", { detail: Number(current.dataset.id) }));
    }
    else if (action) step(action === "next" ? 1 : -1);
    else if (chosen) {
      base = chosen;
      apply();
    }
  });
  viewer.addEventListener("input", apply);
  viewer.addEventListener("keydown", (event) => {
    if (event.target.matches("input")) return;
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  frame.addEventListener("click", (event) => {
    const box = frame.getBoundingClientRect();
    const zoomed = frame.classList.toggle("zoomed");
    const at = (place, start, size) => `${(100 * (place - start)) / size}%`;
    if (zoomed) frame.style.transformOrigin = `${at(event.clientX, box.x, box.width)} ${at(event.clientY, box.y, box.height)}`;
  });

  let touched = null;
  viewer.querySelector(".stage").addEventListener("touchstart", (event) => {
    touched = event.touches.length === 1 && !frame.classList.contains("zoomed") ? event.touches[0].clientX : null;
  }, { passive: true });
  viewer.querySelector(".stage").addEventListener("touchend", (event) => {
    const swept = touched === null ? 0 : event.changedTouches[0].clientX - touched;
    if (Math.abs(swept) > 50) step(swept < 0 ? 1 : -1);
  });

  // The sphere of viewpoints, z up, seen from outside; drag or arrow keys turn it.
  const globe = document.getElementById("globe");
  if (globe) {
    const data = JSON.parse(document.getElementById("globe-data").textContent);
    const radius = 100;
    let turn = 0.6;
    let tilt = 0.35;
    const project = ([x, y, z]) => {
      const right = x * Math.cos(turn) - y * Math.sin(turn);
      const away = x * Math.sin(turn) + y * Math.cos(turn);
      return {
        x: radius * right,
        y: -radius * (z * Math.cos(tilt) + away * Math.sin(tilt)),
        near: z * Math.sin(tilt) - away * Math.cos(tilt),
      };
    };
    const circle = (height) => Array.from({ length: 73 }, (_, i) => [Math.cos((i * Math.PI) / 36) * Math.cos(height), Math.sin((i * Math.PI) / 36) * Math.cos(height), Math.sin(height)]);
    const meridian = (angle) => Array.from({ length: 37 }, (_, i) => [Math.cos(angle) * Math.sin((i * Math.PI) / 36), Math.sin(angle) * Math.sin((i * Math.PI) / 36), Math.cos((i * Math.PI) / 36)]);
    const degrees = (d) => (d * Math.PI) / 180;
    const wires = [-60, -30, 0, 30, 60].map((d) => ({ points: circle(degrees(d)), css: d ? "wire" : "wire equator" }));
    for (let d = 0; d < 360; d += 30) wires.push({ points: meridian(degrees(d)), css: "wire" });
    globe.append(element("circle", { class: "ball", r: radius }));
    for (const wire of wires) globe.append((wire.node = element("path", { class: wire.css })));
    const dots = data.gallery.map((at) => ({ at, node: element("circle", { class: "gallery", r: 1.7 }) }));
    for (const { at, card, css, name } of data.test)
      dots.push({ at, node: element("circle", { class: `test ${css}`, r: 3.4, "data-card": card }, [element("title", {}, [name])]) });
    const draw = () => {
      for (const wire of wires) {
        let path = "";
        let drawing = false;
        for (const point of wire.points) {
          const p = project(point);
          if (p.near >= 0) path += `${drawing ? "L" : "M"}${p.x.toFixed(1)} ${p.y.toFixed(1)}`;
          drawing = p.near >= 0;
        }
        wire.node.setAttribute("d", path);
      }
      for (const dot of dots) {
        const p = project(dot.at);
        dot.near = p.near;
        dot.node.setAttribute("cx", p.x.toFixed(1));
        dot.node.setAttribute("cy", p.y.toFixed(1));
        dot.node.classList.toggle("behind", p.near < 0);
      }
      dots.sort((a, b) => a.near - b.near);
      globe.append(...dots.map((dot) => dot.node));
    };
    const rotate = (across, up) => {
      turn += across;
      tilt = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, tilt + up));
      draw();
    };
    let held = null;
    let moved = 0;
    globe.addEventListener("pointerdown", (event) => {
      held = event;
      moved = 0;
    });
    addEventListener("pointermove", (event) => {
      if (!held) return;
      moved += Math.abs(event.clientX - held.clientX) + Math.abs(event.clientY - held.clientY);
      rotate((event.clientX - held.clientX) * 0.01, (event.clientY - held.clientY) * 0.01);
      held = event;
    });
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (held = null));
    globe.addEventListener("click", (event) => {
      const card = event.target.dataset.card;
      if (card !== undefined && moved < 5) open(document.getElementById(`card${card}`), "query");
    });
    globe.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
      if (!(event.key in steps)) return;
      event.preventDefault();
      rotate(...steps[event.key]);
    });
    draw();
  }
})();
