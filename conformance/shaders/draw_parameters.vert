#version 450
#extension GL_ARB_shader_draw_parameters : require
// Shows which draw of an indirect call this is.
layout(location = 0) out vec4 shade;
void main() {
    vec2 corner = vec2(float(gl_VertexIndex % 3 & 1), float(gl_VertexIndex % 3 >> 1));
    float cell = float(gl_DrawIDARB * 2 + gl_InstanceIndex);
    gl_Position = vec4(-0.95 + corner * 0.4 + vec2(mod(cell, 4.0), floor(cell / 4.0)) * 0.5, 0.0, 1.0);
    shade = vec4(float(gl_DrawIDARB) / 4.0, float(gl_BaseInstanceARB) / 4.0, float(gl_BaseVertexARB) / 9.0, 1.0);
}
