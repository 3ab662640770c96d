#version 450
// Every triangle becomes two smaller ones.
layout(triangles) in;
layout(triangle_strip, max_vertices = 6) out;
layout(location = 0) in vec4 shade[];
layout(location = 0) out vec4 shade_out;
void main() {
    for (int copy = 0; copy < 2; ++copy) {
        for (int i = 0; i < 3; ++i) {
            gl_Position = vec4(gl_in[i].gl_Position.xy * 0.5 + (copy == 0 ? -0.4 : 0.4), gl_in[i].gl_Position.zw);
            shade_out = copy == 0 ? shade[i] : shade[i].gbra;
            EmitVertex();
        }
        EndPrimitive();
    }
}
