// Reads what PAD_utils/report/splats.py packs: planes of bytes, deflated, base64. Gives a float or a byte per quantity.
const decodeSplats = async ({ count, low, side, logScales, data }) => {
  const packed = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(inflated).arrayBuffer());
  const plane = (i) => bytes.subarray(i * count, (i + 1) * count);
  const summed = (i) => {
    const values = plane(i);
    for (let k = 1; k < count; k++) values[k] += values[k - 1]; // modulo 256
    return values;
  };
  const positions = new Float32Array(3 * count);
  const covariances = new Float32Array(6 * count);
  const colors = new Uint8Array(4 * count);
  for (let axis = 0; axis < 3; axis++) {
    const [lower, upper] = [plane(axis), plane(axis + 3)];
    for (let k = 0, step = 0; k < count; k++) {
      step = (step + lower[k] + 256 * upper[k]) & 0xffff;
      positions[3 * k + axis] = low[axis] + (side * step) / 65535;
    }
  }
  const scales = [6, 7, 8].map(summed);
  const rotations = [9, 10, 11].map(plane);
  const [green, red, blue] = [12, 13, 14].map(summed);
  const opacities = plane(15);
  const variance = Float32Array.from({ length: 256 }, (_, i) => Math.exp(2 * (logScales[0] + ((logScales[1] - logScales[0]) * i) / 255)));
  const q = [0, 0, 0, 0];
  for (let k = 0; k < count; k++) {
    colors.set([red[k] + green[k], green[k], blue[k] + green[k], opacities[k]], 4 * k);
    const largest = (rotations[0][k] >> 7) | ((rotations[1][k] >> 7) << 1);
    let rest = 1;
    for (let i = 0, part = 0; i < 4; i++) {
      if (i === largest) continue;
      q[i] = ((rotations[part++][k] & 127) / 127 - 0.5) * Math.SQRT2;
      rest -= q[i] * q[i];
    }
    q[largest] = Math.sqrt(Math.max(0, rest));
    const [w, x, y, z] = q;
    const r = [
      1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
      2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
      2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ];
    const [a, b, c] = scales.map((s) => variance[s[k]]);
    const entry = (i, j) => a * r[3 * i] * r[3 * j] + b * r[3 * i + 1] * r[3 * j + 1] + c * r[3 * i + 2] * r[3 * j + 2];
    covariances.set([entry(0, 0), entry(0, 1), entry(0, 2), entry(1, 1), entry(1, 2), entry(2, 2)], 6 * k);
  }
  return { count, positions, covariances, colors, heat: plane(16) };
};
