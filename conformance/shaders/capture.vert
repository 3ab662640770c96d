#version 450
// Vertices captured by transform feedback.
layout(xfb_buffer = 0, xfb_stride = 32, xfb_offset = 0, location = 0) out vec4 first;
layout(xfb_buffer = 0, xfb_offset = 16, location = 1) out vec4 second;
void main() {
    first = vec4(float(gl_VertexIndex), float(gl_InstanceIndex), 0.5, 1.0);
    second = first * 2.0 + 1.0;
    gl_Position = vec4(0.0, 0.0, 0.0, 1.0);
    gl_PointSize = 1.0;
}
