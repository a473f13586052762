// The slider of the rate of false alarms: another threshold, and all that follows from it, out of the stored scores.
(() => {
  const place = document.getElementById("rates");
  if (!place) return;
  const data = JSON.parse(place.textContent);
  const slider = document.getElementById("rate");
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const percent = (rate) => `${Number((100 * rate).toPrecision(2))} %`;
  const names = { defect: "DEFECT", ok: "OK", lost: "NOT LOCALISED" };
  const decided = (score, localized, threshold) => (!localized ? "lost" : score > threshold ? "defect" : "ok");
  const asRun = new Map(all("[data-count]").map((node) => [node, node.innerHTML]));
  const sentences = new Map(all(".card").map((card) => [card, JSON.parse(one("script", card).textContent)]));

  const counted = (threshold) => {
    const total = { ok: 0, defect: 0, lost: 0 };
    const kinds = data.kinds.map(() => ({ ok: 0, defect: 0, lost: 0 }));
    const wrong = { misses: 0, alarms: 0, bad: 0, good: 0 };
    for (const [score, label, kind, localized] of data.judged) {
      const css = decided(score, localized, threshold);
      total[css] += 1;
      kinds[kind][css] += 1;
      if (css === "lost" || label === null) continue;
      wrong[label ? "bad" : "good"] += 1;
      if (label && css === "ok") wrong.misses += 1;
      if (!label && css === "defect") wrong.alarms += 1;
    }
    return { total, kinds, wrong };
  };
  const bars = (node, counts) => {
    if (node)
      for (const [css, name] of Object.entries(names)) {
        const bar = one(`i.${css}`, node);
        if (!bar) continue;
        bar.style.flex = counts[css];
        bar.title = `${counts[css]} ${name}`;
        bar.hidden = !counts[css];
      }
  };
  const words = (counts) =>
    Object.entries(names).filter(([css]) => counts[css]).map(([css, name]) => `${counts[css]} ${name}`).join(", ");

  const cards = (threshold, text, share) => {
    const changed = new Map();
    for (const card of sentences.keys()) {
      const known = sentences.get(card);
      const before = card.dataset.css;
      if (known.decision === null || card.dataset.score === "") continue;
      const score = Number(card.dataset.score);
      const css = decided(score, known.css !== "lost", threshold);
      const mistake = known.label === 1 && css === "ok" ? "missed" : known.label === 0 && css === "defect" ? "false alarm" : "";
      const moved = text !== data.texts[data.chosen];
      const apart = Number(Math.abs(score - threshold).toPrecision(2));
      const sentence = !moved || css === "lost" ? known.sentence
        : `Score ${known.score} is ${apart} ${score > threshold ? "above" : "below"} the threshold ${text}.`;
      card.dataset.css = css;
      card.dataset.mistake = mistake;
      one(".meter", card).classList.replace(before, css);
      const tick = one(".meter b", card);
      if (tick) tick.style.left = `${100 * share}%`;
      const pill = one(".pill", card);
      if (pill) {
        pill.className = `pill ${css}`;
        pill.textContent = names[css];
      }
      let badge = one("header .mistake", card);
      if (!badge && mistake) one("header h3", card).after((badge = document.createElement("span")));
      if (badge) {
        badge.className = "mistake";
        badge.textContent = mistake;
        badge.hidden = !mistake;
      }
      const why = one(".why", card);
      if (why) {
        why.textContent = sentence;
        why.hidden = !(mistake || css === "lost");
      }
      for (const dot of all(`#globe [data-card="${card.dataset.id}"]`)) dot.classList.replace(before, css);
      changed.set(card, { decision: names[css], css, mistake: mistake || null, sentence });
    }
    document.dispatchEvent(new CustomEvent("decided", { detail: changed }));
  };

  const show = () => {
    const at = Number(slider.value);
    const [rate, threshold, text, share] = [data.rates[at], data.thresholds[at], data.texts[at], data.shares[at]];
    const { total, kinds, wrong } = counted(threshold);
    const moved = at !== data.chosen;
    document.getElementById("rate-now").textContent = percent(rate);
    document.getElementById("rate-run").hidden = !moved;
    slider.setAttribute("aria-valuetext", `${percent(rate)}, threshold ${text}`);
    for (const node of all('[data-fact="Threshold"]')) node.textContent = text;
    const mark = one(".chart .threshold");
    if (mark) {
      const x = data.left + share * data.width;
      for (const end of ["x1", "x2"]) mark.setAttribute(end, x.toFixed(1));
      const name = one(".chart .mark");
      name.textContent = `threshold ${text}`;
      name.setAttribute("x", (x + (x > 270 ? -6 : 6)).toFixed(1));
      name.setAttribute("text-anchor", x > 270 ? "end" : "start");
    }
    bars(one(".verdicts .split"), total);
    const said = {
      misses: `<b>${wrong.misses}</b> of ${wrong.bad} defective missed`,
      alarms: `<b>${wrong.alarms}</b> of ${wrong.good} good called defective`,
    };
    for (const node of asRun.keys()) {
      const { count } = node.dataset;
      node.innerHTML = !moved ? asRun.get(node) : count in said ? said[count] : String(total[count]);
      if (count in total) node.parentNode.hidden = !total[count];
    }
    for (const row of all("[data-kind-row]")) {
      const counts = kinds[data.kinds.indexOf(row.dataset.kindRow)];
      bars(one(".split", row), counts);
      const list = one("[data-kind-words]", row);
      if (list) list.textContent = words(counts);
    }
    const point = one(".chart .point");
    if (point && wrong.good && wrong.bad) {
      point.setAttribute("cx", (data.left + (data.width * wrong.alarms) / wrong.good).toFixed(1));
      const height = Number(point.dataset.bottom) - Number(point.dataset.top);
      point.setAttribute("cy", (Number(point.dataset.bottom) - height * (1 - wrong.misses / wrong.bad)).toFixed(1));
    }
    cards(threshold, text, share);
  };
  slider.addEventListener("input", show);
  document.getElementById("rate-run").addEventListener("click", () => {
    slider.value = data.chosen;
    show();
    slider.focus();
  });
})();
