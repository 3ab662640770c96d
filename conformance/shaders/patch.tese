#version 450
layout(triangles, equal_spacing, ccw) in;
layout(location = 0) in vec4 passed[];
layout(location = 0) out vec4 shade;
void main() {
    vec3 at = gl_TessCoord;
    vec4 place = at.x * gl_in[0].gl_Position + at.y * gl_in[1].gl_Position + at.z * gl_in[2].gl_Position;
    gl_Position = vec4(place.xy * (1.0 + 0.2 * sin(at.x * 9.0)), place.zw);
    shade = vec4(fract(at * 4.0), 1.0) * passed[0];
}
