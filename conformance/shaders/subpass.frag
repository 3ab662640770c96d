#version 450
// Reads the pixel that the subpass before it wrote.
layout(input_attachment_index = 0, set = 0, binding = 0) uniform subpassInput before;
layout(location = 0) in vec2 uv;
layout(location = 0) out vec4 colour;
void main() { colour = vec4(1.0) - subpassLoad(before); }
