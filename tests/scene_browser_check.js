// Uses the 3D view of a report as a reader would and hands what it saw to the page around it.
"use strict";
addEventListener("load", async () => {
  const seen = {};
  const until = async (done) => {
    for (let i = 0; i < 1200 && !done(); i++) await new Promise((r) => setTimeout(r, 50));
    if (!done()) throw new Error(`waited in vain for ${done}`);
  };
  try {
    const space = document.getElementById("space");
    const canvas = space.querySelector("canvas");
    const control = (name) => space.querySelector(`[data-scene="${name}"]`);
    await until(() => space.dataset.ready || space.classList.contains("without"));
    seen.ready = Number(space.dataset.ready);
    seen.said = control("said").textContent;
    seen.overflow = document.documentElement.scrollWidth - innerWidth;
    const { data, camera } = space;
    const [w, h, ...lens] = data.taken[0].lens;
    seen.pictures = data.taken.map((entry) => space.picture(entry.pose, lens, w, h, 0));
    seen.rough = space.picture(data.taken[0].pose, lens, w, h, 0, 500);
    seen.hot = data.taken.map((entry) => space.picture(entry.pose, lens, w, h, 1));

    const before = { distance: camera.distance, pose: [...camera.pose] };
    const box = () => canvas.getBoundingClientRect();
    const press = (type, x, y, id = 1, more = {}) =>
      canvas.dispatchEvent(new PointerEvent(type, { clientX: box().x + x, clientY: box().y + y, pointerId: id, bubbles: true, ...more }));
    for (const [type, x, y] of [["pointerdown", 50, 50], ["pointermove", 110, 60], ["pointerup", 110, 60]]) press(type, x, y);
    seen.orbit = { distance: camera.distance / before.distance, moved: Math.hypot(...eyeOf(camera.pose).map((v, i) => v - eyeOf(before.pose)[i])) };
    for (let i = 0; i < 40; i++) camera.orbit(0.3, 0.4); // over the pole, if it let us
    const [right, down, forward] = rowsOf(camera.pose);
    seen.rigid = [dot3(right, right), dot3(right, down), dot3(down, forward), dot3(forward, forward)];
    seen.pole = Math.acos(Math.abs(dot3(forward, data.up)));
    press("pointerdown", 40, 40, 1);
    press("pointerdown", 80, 40, 2);
    press("pointermove", 160, 40, 2);
    press("pointerup", 40, 40, 1);
    press("pointerup", 160, 40, 2);
    seen.pinch = camera.distance / before.distance;
    canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: 50, cancelable: true }));
    seen.wheel = camera.distance / before.distance;
    control("home").click();

    // A camera is pressed where it is drawn.
    const target = data.taken[1];
    const at = rowsOf(camera.pose).map((row, i) => dot3(row, eyeOf(target.pose)) + camera.pose[4 * i + 3]);
    const first = data.taken.find(({ css }) => css === "defect").lens;
    const scale = Math.min(canvas.clientWidth / first[0], canvas.clientHeight / first[1]);
    const x = ((first[2] * at[0]) / at[2]) * scale + canvas.clientWidth / 2;
    const y = ((first[3] * at[1]) / at[2]) * scale + canvas.clientHeight / 2;
    press("pointerdown", x + 2, y, 1);
    press("pointerup", x + 2, y, 1);
    const viewer = document.getElementById("viewer");
    seen.pressed = { open: viewer.open, name: viewer.querySelector("h2").textContent, wanted: target.name, ahead: at[2] };

    // Its picture flies to its camera.
    viewer.querySelector('[data-do="fly"]').click();
    seen.closed = !viewer.open;
    await until(() => !control("picture").hidden);
    const photograph = space.querySelector("img");
    await photograph.decode();
    const fit = photograph.getBoundingClientRect();
    seen.flown = {
      off: Math.max(...camera.pose.map((v, i) => Math.abs(v - target.pose[i]))),
      said: control("said").textContent,
      visible: !photograph.hidden,
      ratio: fit.width / fit.height,
      inside: fit.left >= box().left - 1 && fit.right <= box().right + 1 && fit.height <= box().height + 1,
    };
    control("picture").click();
    seen.back = viewer.open && viewer.querySelector("h2").textContent === target.name;
    viewer.close();
    press("pointerdown", 50, 50);
    press("pointermove", 90, 50);
    press("pointerup", 90, 50);
    await until(() => photograph.hidden);
    seen.left = control("picture").hidden;
    document.getElementById("theme").click();
    seen.note = space.textContent.includes("Gaussians are drawn, those that show most");
    seen.fetched = performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !/^(data|blob):/.test(name));
  } catch (error) {
    seen.failed = String(error.stack || error);
  }
  seen.errors = window.errors;
  parent.postMessage(seen, "*");
});
