// A camera that turns around a point. Poses are cam_from_world in OpenCV axes, 12 numbers row by row.
const dot3 = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const add3 = (a, b, share = 1) => a.map((v, i) => v + share * b[i]);
const unit3 = (a) => a.map((v) => v / Math.hypot(...a));
const eyeOf = (m) => [0, 1, 2].map((i) => -(m[i] * m[3] + m[4 + i] * m[7] + m[8 + i] * m[11]));
const rowsOf = (m) => [m.slice(0, 3), m.slice(4, 7), m.slice(8, 11)];
const poseOf = (rows, eye) => rows.flatMap((row) => [...row, -dot3(row, eye)]);
// The vector turned by so many radians about a unit axis (Rodrigues).
const turned = (v, axis, angle) => {
  const [c, s, along] = [Math.cos(angle), Math.sin(angle), dot3(axis, v) * (1 - Math.cos(angle))];
  const [x, y, z] = axis;
  const across = [y * v[2] - z * v[1], z * v[0] - x * v[2], x * v[1] - y * v[0]];
  return v.map((value, i) => value * c + across[i] * s + axis[i] * along);
};

class OrbitCamera {
  constructor(pose, target, up) {
    Object.assign(this, { pose: [...pose], target: [...target], up });
  }

  get distance() {
    return Math.hypot(...add3(eyeOf(this.pose), this.target, -1));
  }

  turn(axis, angle) {
    const rows = rowsOf(this.pose).map((row) => turned(row, axis, angle));
    this.pose = poseOf(rows, add3(this.target, turned(add3(eyeOf(this.pose), this.target, -1), axis, angle)));
  }

  // Around the part's own axis, and over it, but not past its poles.
  orbit(across, along) {
    this.turn(this.up, -across);
    const [right, , forward] = rowsOf(this.pose);
    const tilt = Math.acos(Math.max(-1, Math.min(1, dot3(forward, this.up))));
    const wanted = Math.max(0.05, Math.min(Math.PI - 0.05, tilt + along));
    this.turn(right, tilt - wanted);
  }

  zoom(factor) {
    const eye = eyeOf(this.pose);
    this.pose = poseOf(rowsOf(this.pose), add3(this.target, add3(eye, this.target, -1), factor));
  }

  // By shares of the distance, to the right and down.
  pan(right, down) {
    const rows = rowsOf(this.pose);
    const step = add3(rows[0].map((v) => v * right * this.distance), rows[1], down * this.distance);
    this.pose = poseOf(rows, add3(eyeOf(this.pose), step));
    this.target = add3(this.target, step);
  }

  // The pose at a share of the way to another one: the eye on an arc around the target.
  static between(from, to, share, target) {
    const [a, b] = [from, to].map((pose) => add3(eyeOf(pose), target, -1));
    const radius = Math.hypot(...a) * (1 - share) + Math.hypot(...b) * share;
    const blend = (u, v) => {
      const angle = Math.acos(Math.max(-1, Math.min(1, dot3(u, v))));
      if (angle < 1e-4) return v;
      if (angle > Math.PI - 1e-3) return unit3(add3(u.map((x) => x * (1 - share)), add3(v, [1e-3, 2e-3, 3e-3]), share));
      return unit3(add3(u.map((x) => x * Math.sin((1 - share) * angle)), v, Math.sin(share * angle)));
    };
    const [rowsA, rowsB] = [rowsOf(from), rowsOf(to)];
    const forward = blend(rowsA[2], rowsB[2]);
    const slanted = add3(rowsA[0].map((x) => x * (1 - share)), rowsB[0], share);
    const right = unit3(add3(slanted, forward, -dot3(slanted, forward)));
    const down = [0, 1, 2].map((i) => forward[(i + 1) % 3] * right[(i + 2) % 3] - forward[(i + 2) % 3] * right[(i + 1) % 3]);
    return share >= 1 ? to : poseOf([right, down, forward], add3(target, blend(unit3(a), unit3(b)), radius));
  }
}

// One finger or the mouse turns; two fingers, or the mouse with shift or its right button, move and zoom; so does the wheel.
const listenToPointers = (canvas, camera, changed, pressed) => {
  const held = new Map();
  let travelled = 0;
  const middle = () => {
    const points = [...held.values()];
    const [x, y] = [0, 1].map((i) => points.reduce((sum, p) => sum + p[i], 0) / points.length);
    return { x, y, spread: points.length > 1 ? Math.hypot(points[0][0] - points[1][0], points[0][1] - points[1][1]) : 0 };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!held.size) travelled = 0;
    held.set(event.pointerId, [event.clientX, event.clientY]);
    if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held.has(event.pointerId)) return;
    const before = middle();
    held.set(event.pointerId, [event.clientX, event.clientY]);
    const now = middle();
    const [across, along, size] = [now.x - before.x, now.y - before.y, canvas.clientHeight];
    travelled += Math.abs(across) + Math.abs(along) + Math.abs(now.spread - before.spread);
    if (held.size > 1 || event.shiftKey || event.buttons === 2) {
      camera.pan(-across / size, -along / size);
      if (before.spread && now.spread) camera.zoom(before.spread / now.spread);
    } else camera.orbit((3 * across) / size, (3 * along) / size);
    changed();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (held.delete(event.pointerId) && travelled < 6) pressed(event, event.pointerType === "touch" ? 24 : 12);
  });
  canvas.addEventListener("pointercancel", (event) => held.delete(event.pointerId));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    camera.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.004));
    changed();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (event.key in steps) camera.orbit(...steps[event.key]);
    else if (event.key === "+" || event.key === "-") camera.zoom(event.key === "+" ? 0.9 : 1.1);
    else return;
    event.preventDefault();
    changed();
  });
};
