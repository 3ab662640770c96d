#version 450
// Two colour attachments of one pass.
layout(push_constant) uniform Push { vec4 colour; float depth; } push;
layout(location = 0) in vec2 uv;
layout(location = 0) out vec4 colour;
layout(location = 1) out vec4 other;
void main() { colour = push.colour; other = vec4(fract(uv * 4.0), 0.0, 1.0); }
