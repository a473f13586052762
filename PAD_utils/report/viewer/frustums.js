// The cameras as pyramids of lines: training views gray, pictures in the color of their decision.
const LINE_VERTEX = `#version 300 es
uniform mat3 rotation;
uniform vec3 translation;
uniform vec4 lens;
uniform vec2 size;
in vec3 position;
in vec4 color;
out vec4 shade;
void main() {
  vec3 p = rotation * position + translation;
  vec2 at = lens.xy * p.xy + lens.zw * p.z;
  gl_Position = vec4(2.0 * at.x / size.x - p.z, p.z - 2.0 * at.y / size.y, p.z > 0.05 ? 0.0 : 2.0 * p.z, p.z);
  shade = color;
}`;
const LINE_FRAGMENT = `#version 300 es
precision mediump float;
in vec4 shade;
out vec4 color;
void main() { color = vec4(shade.rgb * shade.a, shade.a); }`;

class Frustums {
  // program: of LINE_VERTEX and LINE_FRAGMENT, for all of them;
  // cameras: { pose, lens: [w, h, fx, fy, cx, cy], color: [r, g, b, a] from 0 to 1, length in world units }
  constructor(gl, program, cameras) {
    Object.assign(this, { gl, program });
    checkProgram(gl, program);
    this.places = ["rotation", "translation", "lens", "size"].map((name) => gl.getUniformLocation(this.program, name));
    const values = [];
    for (const { pose, lens, color, length } of cameras) {
      const [w, h, fx, fy, cx, cy] = lens;
      const [eye, rows] = [eyeOf(pose), rowsOf(pose)];
      const corners = [[0, 0], [w, 0], [w, h], [0, h]].map(([x, y]) => {
        const inCamera = [((x - cx) / fx) * length, ((y - cy) / fy) * length, length];
        return [0, 1, 2].map((i) => eye[i] + rows[0][i] * inCamera[0] + rows[1][i] * inCamera[1] + rows[2][i] * inCamera[2]);
      });
      corners.forEach((corner, i) => {
        for (const end of [eye, corner, corner, corners[(i + 1) % 4]]) values.push(...end, ...color);
      });
    }
    this.count = values.length / 7;
    this.array = gl.createVertexArray();
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(values), gl.STATIC_DRAW);
    for (const [name, numbers, offset] of [["position", 3, 0], ["color", 4, 12]]) {
      const place = gl.getAttribLocation(this.program, name);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, numbers, gl.FLOAT, false, 28, offset);
    }
    gl.bindVertexArray(null);
  }

  draw(pose, lens, width, height) {
    const { gl } = this;
    gl.useProgram(this.program);
    gl.uniformMatrix3fv(this.places[0], true, [0, 1, 2, 4, 5, 6, 8, 9, 10].map((i) => pose[i]));
    gl.uniform3f(this.places[1], pose[3], pose[7], pose[11]);
    gl.uniform4f(this.places[2], ...lens);
    gl.uniform2f(this.places[3], width, height);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindVertexArray(this.array);
    gl.drawArrays(gl.LINES, 0, this.count);
    gl.bindVertexArray(null);
  }
}
