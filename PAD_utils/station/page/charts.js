"use strict";
// The chart of decisions and scores over time, and the numbers beside it.
const charts = (() => {
  const SVG = "http://www.w3.org/2000/svg", WIDTH = 960, HEIGHT = 150, FOOT = 20, HEAD = 8;

  const shape = (name, attributes, title) => {
    const found = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
    if (title) found.append(Object.assign(document.createElementNS(SVG, "title"), { textContent: title }));
    return found;
  };

  const time = (seconds, long) => new Date(1000 * seconds).toLocaleString([], long
    ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit" });

  const draw = (svg, found) => {
    const floor = HEIGHT - FOOT, step = WIDTH / 48, most = Math.max(1, ...found.spans.map((s) => s.parts));
    const top = Math.max(1e-9, ...found.spans.map((s) => s.good_score || 0)) * 1.15;
    const drawn = [shape("path", { d: `M0 ${floor}H${WIDTH}`, class: "axis" })], line = [];
    for (const span of found.spans) {
      const x = Math.round((span.from - found.start) / found.span_s) * step;
      let y = floor;
      const others = span.parts - span.defect - span.not_localised;
      for (const [kind, count] of [["ok", others], ["lost", span.not_localised], ["defect", span.defect]]) {
        if (!count) continue;
        const height = (floor - HEAD) * count / most;
        y -= height;
        const title = `${time(span.from)}: ${span.parts} parts, ${span.defect} DEFECT, ${span.not_localised} NOT LOCALISED`;
        drawn.push(shape("rect", { x: x + 1, y, width: step - 2, height, class: `bar ${kind}` }, title));
      }
      if (span.good_score !== null) line.push(`${x + step / 2} ${floor - (floor - HEAD) * span.good_score / top}`);
    }
    if (line.length > 1) drawn.push(shape("path", { d: `M${line.join("L")}`, class: "line" }));
    for (let i = 0; i < 48; i += 8) {
      const label = shape("text", { x: i * step, y: HEIGHT - 4, class: "tick" });
      label.textContent = time(found.start + i * found.span_s, 48 * found.span_s > 90000);
      drawn.push(label);
    }
    svg.replaceChildren(...drawn);
  };

  const number = (name, value) => {
    const box = document.createElement("div"), figure = document.createElement("b"), note = document.createElement("span");
    [figure.textContent, note.textContent, note.className] = [value, name, "muted"];
    box.append(figure, note);
    return box;
  };

  const numbers = (box, found) => {
    const share = (count) => found.parts ? `${(100 * count / found.parts).toFixed(1)} %` : "–";
    const drift = found.drift.recent_median === undefined ? "–"
      : `${found.drift.reference_median.toPrecision(3)} → ${found.drift.recent_median.toPrecision(3)}`;
    box.replaceChildren(number("parts", found.parts), number("DEFECT", share(found.defect)),
      number("NOT LOCALISED", share(found.not_localised)), number("marked mistakes", found.mistakes),
      number(found.drift.note || "median score of good parts: first, now", drift));
  };

  return { draw, numbers };
})();
