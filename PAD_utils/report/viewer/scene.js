// The 3D view of the report: splats, cameras, defects. Press a camera to see its picture; "In 3D" flies to a picture's.
// The page's other script hears "show-picture" and sends "fly-to", each with the number of a card.
(async () => {
  const place = document.getElementById("space");
  if (!place) return;
  const canvas = place.querySelector("canvas");
  const control = (name) => place.querySelector(`[data-scene="${name}"]`);
  const said = control("said");
  // Splats are smooth by themselves; to draw each four times for the lines' sake would cost phones their frames.
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true, alpha: true });
  if (!gl || typeof DecompressionStream === "undefined") {
    place.classList.add("without");
    said.textContent = "This browser shows no 3D view: it needs WebGL 2 and DecompressionStream (Chrome 80, Firefox 113, Safari 16.4 or newer).";
    return;
  }
  let renderer = new SplatRenderer(gl); // the driver compiles while we decode
  let lineProgram = compileProgram(gl, LINE_VERTEX, LINE_FRAGMENT);
  const data = JSON.parse(document.getElementById("scene-data").textContent);
  const splats = await decodeSplats(data.splats);
  renderer.load(splats);
  const style = getComputedStyle(document.documentElement);
  const colorOf = (css) => {
    const hex = style.getPropertyValue(`--${css}`).trim();
    return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
  };
  const start = data.taken.find(({ css }) => css === "defect") || data.taken[0] || data.gallery[0];
  const camera = new OrbitCamera(start.pose, data.center, data.up);
  const length = 0.05 * camera.distance;
  const gray = (entry) => ({ ...entry, color: [0.45, 0.48, 0.52, 0.45], length: 0.6 * length });
  const cssOf = ({ card, css }) => document.getElementById(`card${card}`)?.dataset.css || css; // the slider changes it
  const colored = (entry) => ({ ...entry, color: [...colorOf(cssOf(entry)), 1], length });
  let lines = [];
  const makeLines = () => (lines = [data.gallery.map(gray), data.taken.map(colored)].map((some) => new Frustums(gl, lineProgram, some)));
  makeLines();

  let current = null; // the picture whose camera the view stands at
  let lens = start.lens;
  let asked = false;
  // The picture of the camera lies in the middle of the canvas, as large as it fits in.
  const fitted = (width, height) => {
    const [w, h, fx, fy, cx, cy] = lens;
    const scale = Math.min(width / w, height / h);
    const [left, top] = [(width - w * scale) / 2, (height - h * scale) / 2];
    return { lens: [fx * scale, fy * scale, left + cx * scale, top + cy * scale], left, top, width: w * scale, height: h * scale };
  };
  const photograph = place.querySelector("img");
  const draw = (count = renderer.count) => {
    asked = false;
    const density = Math.min(devicePixelRatio || 1, 1.5);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((n) => Math.max(1, Math.round(n * density)));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const fit = fitted(width, height);
    renderer.draw(camera.pose, fit.lens, width, height, Number(control("heat").value), count);
    if (!current && control("cameras").checked) for (const some of lines) some.draw(camera.pose, fit.lens, width, height);
    photograph.hidden = !current;
    if (current) {
      const box = { left: fit.left, top: fit.top, width: fit.width, height: fit.height };
      for (const [side, value] of Object.entries(box)) photograph.style[side] = `${value / density}px`;
      photograph.style.opacity = control("photograph").value;
    }
    control("photograph").parentNode.hidden = !current;
    control("picture").hidden = !current;
  };
  const redraw = () => {
    if (!asked) requestAnimationFrame(() => draw());
    asked = true;
  };

  const leave = () => {
    current = null;
    said.textContent = "";
    redraw();
  };
  const press = (event, reach) => {
    const box = canvas.getBoundingClientRect();
    const fit = fitted(canvas.clientWidth, canvas.clientHeight);
    let nearest = null;
    for (const entry of current || !control("cameras").checked ? [] : data.taken) {
      const p = rowsOf(camera.pose).map((row, i) => dot3(row, eyeOf(entry.pose)) + camera.pose[4 * i + 3]);
      if (p[2] <= 0.05) continue;
      const x = (fit.lens[0] * p[0]) / p[2] + fit.lens[2] - (event.clientX - box.left);
      const y = (fit.lens[1] * p[1]) / p[2] + fit.lens[3] - (event.clientY - box.top);
      const off = Math.hypot(x, y);
      if (off < reach && (!nearest || off < nearest.off)) nearest = { off, entry };
    }
    if (nearest) document.dispatchEvent(new CustomEvent("show-picture", { detail: nearest.entry.card }));
  };
  listenToPointers(canvas, camera, leave, press);

  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const fly = (card) => {
    const entry = data.taken.find((one) => one.card === card);
    if (!entry) return;
    place.scrollIntoView({ block: "center" });
    const [from, began] = [camera.pose, performance.now()];
    [lens, current] = [entry.lens, null];
    camera.target = [...data.center];
    const step = (now) => {
      const share = still ? 1 : Math.min(1, Math.max(0, (now - began) / 700));
      camera.pose = OrbitCamera.between(from, entry.pose, share * share * (3 - 2 * share), data.center);
      if (share < 1) requestAnimationFrame(step);
      else {
        current = entry;
        said.textContent = entry.name;
        photograph.src = document.querySelector(`#card${card} img.query`).src;
      }
      draw();
    };
    requestAnimationFrame(step);
  };
  document.addEventListener("fly-to", (event) => fly(event.detail));
  place.addEventListener("input", redraw);
  control("picture").addEventListener("click", () => document.dispatchEvent(new CustomEvent("show-picture", { detail: current.card })));
  control("home").addEventListener("click", () => {
    Object.assign(camera, { pose: [...start.pose], target: [...data.center] });
    camera.zoom(1.25);
    lens = start.lens;
    leave();
  });
  new ResizeObserver(redraw).observe(canvas);
  const recolor = () => {
    makeLines();
    redraw();
  };
  document.getElementById("theme").addEventListener("click", recolor);
  document.getElementById("rate")?.addEventListener("input", recolor);
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => {
    renderer = new SplatRenderer(gl);
    renderer.load(splats);
    lineProgram = compileProgram(gl, LINE_VERTEX, LINE_FRAGMENT);
    makeLines();
    redraw();
  });

  // The view from a camera as a data URI, for tests: width x height pixels, without cameras, of all splats or `count`.
  const picture = (pose, lens, width, height, heat, count) => {
    Object.assign(canvas, { width, height });
    renderer.draw(pose, lens, width, height, heat, count);
    const uri = canvas.toDataURL("image/png");
    redraw();
    return uri;
  };
  camera.zoom(1.25);
  draw(renderer.few); // soon; the others follow once this is seen
  Object.assign(place, { picture, camera, data, few: renderer.few });
  place.dataset.ready = String(Math.round(performance.now()));
  if (renderer.few < renderer.count) requestAnimationFrame(redraw);
})();
