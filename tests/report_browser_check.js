// Runs inside a report in the browser: uses the page as a reader would and hands what it saw to the page around it.
"use strict";
addEventListener("load", async () => {
  const seen = { width: innerWidth };
  const $ = (selector) => document.querySelector(selector);
  const $$ = (selector) => [...document.querySelectorAll(selector)];
  const visible = () => $$(".card").filter((card) => !card.hidden);
  const names = () => visible().map((card) => `${card.dataset.kind}/${card.dataset.name}`);
  const choose = (select, value) => {
    select.value = value;
    select.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const decoded = async (images) => {
    const broken = [];
    for (const image of images) {
      image.loading = "eager";
      await image.decode().catch(() => broken.push(image.className));
      if (!image.naturalWidth) broken.push(image.className);
    }
    return { count: images.length, broken };
  };
  try {
    seen.title = $("h1").textContent;
    seen.overflow = document.documentElement.scrollWidth - innerWidth;
    seen.pictures = await decoded($$("img"));
    seen.kinds = new Set($$("img").map((image) => image.className)).size;

    seen.all = names();
    $('[data-show="mistake"]').click();
    seen.mistakes = names();
    $('[data-show="ok"]').click();
    seen.ok = names();
    $('[data-show="all"]').click();
    choose($("#kind"), "good");
    seen.good = names();
    choose($("#kind"), "");
    choose($("#order"), "score");
    seen.byScore = visible().map((card) => card.dataset.score);
    choose($("#order"), "name");
    seen.byName = names();
    choose($("#order"), "concern");

    const viewer = $("#viewer");
    const frame = $("#viewer .frame");
    visible()[0].querySelector(".shot.heat").click();
    const box = frame.getBoundingClientRect();
    seen.viewer = {
      open: viewer.open,
      name: $("#viewer h2").textContent,
      pictures: await decoded([...frame.querySelectorAll("img")]),
      larger: box.width / visible()[0].querySelector(".shot").getBoundingClientRect().width,
      inside: box.left >= -1 && box.right <= innerWidth + 1 && box.top >= -1 && box.bottom <= innerHeight + 1,
      boxes: frame.querySelectorAll(".box").length,
      heat: getComputedStyle(frame.querySelector(".glow")).opacity,
      overflow: viewer.scrollWidth - innerWidth,
      why: $("#viewer .why").textContent,
      rows: $$("#viewer .regions tbody tr").length,
    };
    $('[data-base="difference"]').click();
    seen.difference = getComputedStyle(frame.querySelector(".over2")).mixBlendMode;
    $('[data-base="rendering"]').click();
    seen.rendering = frame.querySelector(".base").src === visible()[0].querySelector("img.rendering").src;
    $('[data-do="next"]').click();
    seen.next = $("#viewer h2").textContent;
    $('[data-do="previous"]').click();
    $('[data-do="previous"]').click();
    seen.last = $("#viewer h2").textContent;
    frame.click();
    seen.zoomed = frame.classList.contains("zoomed");
    $('[data-do="close"]').click();
    seen.closed = !viewer.open;

    const dots = () => $$("#globe circle.test").map((dot) => dot.getAttribute("cx"));
    const before = dots();
    const press = (type, x) => $("#globe").dispatchEvent(new PointerEvent(type, { clientX: x, clientY: 0, bubbles: true }));
    press("pointerdown", 0);
    press("pointermove", 80);
    press("pointerup", 80);
    seen.globe = { dots: before.length, training: $$("#globe circle.gallery").length, turned: String(before) !== String(dots()) };
    press("pointerdown", 0);
    press("pointerup", 0);
    $("#globe circle.test").dispatchEvent(new MouseEvent("click", { bubbles: true }));
    seen.globe.opens = viewer.open;
    viewer.close();

    // Another rate of false alarms, by the keys of a keyboard as far as a page can press them.
    const rate = $("#rate");
    const state = () => ({
      rate: $("#rate-now").textContent, threshold: $('[data-fact="Threshold"]').textContent,
      counts: Object.fromEntries($$("[data-count]").map((node) => [node.dataset.count, node.textContent.replace(/\s+/g, " ").trim()])),
      cards: Object.fromEntries($$(".card").map((card) => [`${card.dataset.kind}/${card.dataset.name}`, card.querySelector(".pill").textContent])),
      mistakes: $$(".card header .mistake").filter((badge) => !badge.hidden).map((badge) => badge.textContent).sort(),
      chip: $('[data-show="mistake"]').textContent, line: $(".chart .threshold").getAttribute("x1"),
      kinds: $$("[data-kind-words]").map((node) => node.textContent), spoken: rate.getAttribute("aria-valuetext"),
      point: $(".chart .point")?.getAttribute("cx"), asRun: $("#rate-run").hidden,
    });
    const slide = (value) => {
      rate.value = value;
      rate.dispatchEvent(new Event("input", { bubbles: true }));
    };
    rate.focus();
    seen.rate = { focused: document.activeElement === rate, label: rate.labels[0].textContent, ends: $(".ends").textContent, run: state() };
    slide(rate.max);
    seen.rate.most = state();
    $("#card0 .shot").click();
    seen.rate.enlarged = $("#viewer .state").textContent;
    viewer.close();
    slide(0);
    seen.rate.least = state();
    $("#rate-run").click();
    seen.rate.again = state();

    const paper = () => getComputedStyle(document.body).backgroundColor;
    const one = paper();
    $("#theme").click();
    seen.themes = [one, paper()];
    seen.fetched = performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !name.startsWith("data:"));
  } catch (error) {
    seen.failed = String(error.stack || error);
  }
  seen.errors = window.errors;
  parent.postMessage(seen, "*");
});
