#version 450
// Depth comparison by a sampler.
layout(local_size_x = 8, local_size_y = 8) in;
layout(set = 0, binding = 0) uniform sampler2DShadow image;
layout(set = 0, binding = 1) buffer Result { float values[]; } result;
void main() {
    uvec2 at = gl_GlobalInvocationID.xy;
    result.values[at.y * 16 + at.x] = textureLod(image, vec3(vec2(at) / 15.0, float(at.x) / 15.0), 0.0);
}
