#version 450
// Position and colour per vertex, an offset per instance.
layout(location = 0) in vec3 position;
layout(location = 1) in vec4 colour;
layout(location = 2) in vec2 offset;
layout(location = 0) out vec4 shade;
void main() {
    gl_Position = vec4(position.xy + offset, position.z, 1.0);
    gl_PointSize = 3.0;
    shade = colour;
}
