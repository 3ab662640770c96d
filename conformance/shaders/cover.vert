#version 450
// A triangle that covers the viewport, with no input; depth and colour are pushed.
layout(push_constant) uniform Push { vec4 colour; float depth; } push;
layout(location = 0) out vec2 uv;
void main() {
    uv = vec2((gl_VertexIndex << 1) & 2, gl_VertexIndex & 2);
    gl_Position = vec4(uv * 2.0 - 1.0, push.depth, 1.0);
}
