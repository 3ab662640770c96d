#version 450
// Runs for each sample; the colour tells which.
layout(location = 0) in vec2 uv;
layout(location = 0) out vec4 colour;
void main() { colour = vec4(float(gl_SampleID) / 4.0, gl_SamplePosition, 1.0); }
