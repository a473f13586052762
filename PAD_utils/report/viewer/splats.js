// Draws Gaussians in WebGL 2 as our rasterizer does: EWA splatting with its dilation and limits, nearest first. The sort
// is a counting sort on the main thread, for the page's content security policy allows no worker.
const SPLAT_VERTEX = `#version 300 es
precision highp float;
precision highp int;
uniform highp usampler2D splats;
uniform mat3 rotation;
uniform vec3 translation;
uniform vec4 lens; // fx, fy, cx, cy in pixels
uniform vec2 size;
uniform float heat;
in vec2 corner;
in uint index;
out vec2 sigmas;
out vec4 shade;

uvec4 texel(int k) {
  int at = int(index) * 3 + k;
  return texelFetch(splats, ivec2(at & 2047, at >> 11), 0);
}

vec3 glow(float h) { // black, purple, red, yellow: brighter than what is dimmed below it
  return clamp(vec3(2.4 * h, 2.6 * h - 1.1, 0.9 * sin(4.2 * h)), 0.0, 1.0);
}

void main() {
  uvec4 first = texel(0);
  vec4 second = uintBitsToFloat(texel(1));
  uvec4 third = texel(2);
  vec4 rgba = vec4(first.w & 255u, (first.w >> 8) & 255u, (first.w >> 16) & 255u, first.w >> 24) / 255.0;
  vec3 p = rotation * uintBitsToFloat(first.xyz) + translation;
  float level = 2.0 * log(max(rgba.a, 1e-6) * 255.0); // up to there alpha is at least 1/255
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);
  if (p.z <= 0.2 || level <= 0.0) return;
  vec2 toPlane = p.xy / p.z;
  vec2 low = -(lens.zw + 0.15 * size) / lens.xy;
  vec2 high = (size - lens.zw + 0.15 * size) / lens.xy;
  vec2 uv = clamp(toPlane, low, high);
  mat3 jacobian = mat3(lens.x, 0, 0, 0, lens.y, 0, -lens.x * uv.x, -lens.y * uv.y, 0) / p.z;
  float c12 = uintBitsToFloat(third.x);
  mat3 covariance = mat3(second.x, second.y, second.z, second.y, second.w, c12, second.z, c12, uintBitsToFloat(third.y));
  mat3 turn = jacobian * rotation;
  mat3 projected = turn * covariance * transpose(turn);
  float xx = projected[0][0] + 0.3;
  float yy = projected[1][1] + 0.3;
  float xy = projected[0][1];
  float middle = 0.5 * (xx + yy);
  float apart = length(vec2(0.5 * (xx - yy), xy));
  vec2 spread = sqrt(vec2(middle + apart, max(middle - apart, 1e-4)));
  vec2 axis = abs(xy) > 1e-6 * middle ? normalize(vec2(xy, middle + apart - xx)) : xx >= yy ? vec2(1, 0) : vec2(0, 1);
  sigmas = corner * sqrt(level);
  vec2 at = lens.xy * toPlane + lens.zw + sigmas.x * spread.x * axis + sigmas.y * spread.y * vec2(-axis.y, axis.x);
  gl_Position = vec4(2.0 * at.x / size.x - 1.0, 1.0 - 2.0 * at.y / size.y, 0.0, 1.0);
  float hot = float(third.z) / 255.0;
  vec3 dimmed = vec3(dot(rgba.rgb, vec3(0.3, 0.59, 0.11))) * 0.65;
  shade = vec4(mix(rgba.rgb, max(dimmed, glow(hot)), heat), rgba.a);
}`;
const SPLAT_FRAGMENT = `#version 300 es
precision highp float;
in vec2 sigmas;
in vec4 shade;
out vec4 color;
void main() {
  float alpha = min(0.99, shade.a * exp(-0.5 * dot(sigmas, sigmas)));
  if (alpha < 1.0 / 255.0) discard;
  color = vec4(shade.rgb * alpha, alpha);
}`;

const compileProgram = (gl, vertex, fragment) => {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return program;
};
const checkProgram = (gl, program) => {
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(`WebGL: ${gl.getProgramInfoLog(program)}`);
};

const FEWEST = 20000; // splats, of a rough picture: a processor without a GPU draws them at once

class SplatRenderer {
  constructor(gl) {
    this.gl = gl;
    this.program = compileProgram(gl, SPLAT_VERTEX, SPLAT_FRAGMENT);
  }

  // The splats that cover most come first, so that the first `few` of them alone are a rough picture.
  load({ count, positions, covariances, colors, heat }) {
    const { gl } = this;
    checkProgram(gl, this.program);
    const covering = Float32Array.from({ length: count }, (_, k) => colors[4 * k + 3] * (covariances[6 * k] + covariances[6 * k + 3] + covariances[6 * k + 5]));
    const few = Math.min(count, Math.max(FEWEST, count >> 2));
    const least = few < count ? covering.slice().sort()[count - few] : 0;
    const order = new Uint32Array(count);
    let [first, other] = [0, few];
    for (let k = 0; k < count; k++) order[first < few && (covering[k] >= least || other === count) ? first++ : other++] = k;
    Object.assign(this, { count, few, positions: new Float32Array(3 * count) });
    this.places = Object.fromEntries(
      ["splats", "rotation", "translation", "lens", "size", "heat"].map((name) => [name, gl.getUniformLocation(this.program, name)]),
    );
    const rows = Math.max(1, Math.ceil((3 * count) / 2048));
    const texels = new Uint32Array(rows * 2048 * 4);
    const floats = new Float32Array(texels.buffer);
    for (let place = 0; place < count; place++) {
      const k = order[place];
      const at = positions.subarray(3 * k, 3 * k + 3);
      this.positions.set(at, 3 * place);
      floats.set(at, 12 * place);
      const [r, g, b, a] = colors.subarray(4 * k, 4 * k + 4);
      texels[12 * place + 3] = (r | (g << 8) | (b << 16) | (a << 24)) >>> 0;
      floats.set(covariances.subarray(6 * k, 6 * k + 6), 12 * place + 4);
      texels[12 * place + 10] = heat[k];
    }
    this.texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32UI, 2048, rows, 0, gl.RGBA_INTEGER, gl.UNSIGNED_INT, texels);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    const corner = gl.getAttribLocation(this.program, "corner");
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    this.order = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.order);
    const index = gl.getAttribLocation(this.program, "index");
    gl.enableVertexAttribArray(index);
    gl.vertexAttribIPointer(index, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(index, 1);
    gl.bindVertexArray(null);
    this.depths = new Float32Array(count);
    this.sorted = new Uint32Array(count);
    this.counts = new Uint32Array(65537);
  }

  // The first `count` of them, nearest first along the optical axis (a row of the rotation), in 65536 steps of the depths
  // that there are.
  sort([x, y, z], offset, count) {
    const { depths, positions, counts, sorted } = this;
    let [nearest, farthest] = [Infinity, -Infinity];
    for (let k = 0; k < count; k++) {
      const depth = x * positions[3 * k] + y * positions[3 * k + 1] + z * positions[3 * k + 2] + offset;
      depths[k] = depth;
      if (depth < nearest) nearest = depth;
      if (depth > farthest) farthest = depth;
    }
    const step = farthest > nearest ? 65535 / (farthest - nearest) : 0;
    counts.fill(0);
    for (let k = 0; k < count; k++) counts[1 + ((depths[k] - nearest) * step | 0)]++;
    for (let k = 1; k < counts.length; k++) counts[k] += counts[k - 1];
    for (let k = 0; k < count; k++) sorted[counts[(depths[k] - nearest) * step | 0]++] = k;
  }

  // pose: cam_from_world, 12 numbers row by row; lens: fx, fy, cx, cy in pixels of the canvas; heat in [0, 1]; count: of
  // the splats.
  draw(pose, lens, width, height, heat, count = this.count) {
    const { gl, places } = this;
    this.sort(pose.slice(8, 11), pose[11], count);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(this.program);
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.order);
    gl.bufferData(gl.ARRAY_BUFFER, this.sorted, gl.DYNAMIC_DRAW);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.uniform1i(places.splats, 0);
    gl.uniformMatrix3fv(places.rotation, true, [0, 1, 2, 4, 5, 6, 8, 9, 10].map((i) => pose[i]));
    gl.uniform3f(places.translation, pose[3], pose[7], pose[11]);
    gl.uniform4f(places.lens, ...lens);
    gl.uniform2f(places.size, width, height);
    gl.uniform1f(places.heat, heat);
    gl.disable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE_MINUS_DST_ALPHA, gl.ONE); // what lies behind shows through what is drawn already
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    gl.bindVertexArray(null);
  }
}
