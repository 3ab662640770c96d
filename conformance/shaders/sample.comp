#version 450
// Samples an image on a grid that reaches beyond its edges, at several levels of detail.
layout(local_size_x = 8, local_size_y = 8) in;
layout(set = 0, binding = 0) uniform sampler2D image;
layout(set = 0, binding = 1) buffer Result { vec4 texels[]; } result;
layout(push_constant) uniform Push { float scale; float lod; } push;
void main() {
    uvec2 at = gl_GlobalInvocationID.xy;
    vec2 uv = (vec2(at) / 15.0 * 2.0 - 0.5) * push.scale;
    result.texels[at.y * 16 + at.x] = textureLod(image, uv, push.lod);
}
