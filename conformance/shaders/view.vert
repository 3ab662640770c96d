#version 450
#extension GL_EXT_multiview : require
// Each view of a multiview pass gets a triangle of its own.
layout(location = 0) out vec4 shade;
void main() {
    vec2 at = vec2(float(gl_VertexIndex & 1), float(gl_VertexIndex >> 1)) - 0.5;
    gl_Position = vec4(at + 0.4 * float(gl_ViewIndex), 0.0, 1.0);
    shade = vec4(float(gl_ViewIndex), 1.0 - float(gl_ViewIndex), 0.5, 1.0);
}
