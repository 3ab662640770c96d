#version 450
layout(push_constant) uniform Push { vec4 colour; float depth; } push;
layout(location = 0) in vec2 uv;
layout(location = 0) out vec4 colour;
void main() { colour = vec4(push.colour.rgb * (0.5 + 0.25 * (uv.x + uv.y) * 0.5), push.colour.a); }
