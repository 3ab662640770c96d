#version 450
// One descriptor of every buffer and image type; what is read from each goes to the result.
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) uniform Uniform { uvec4 value; } uniform_buffer;
layout(set = 0, binding = 1) buffer Storage { uvec4 value; } storage_buffer;
layout(set = 0, binding = 2) uniform UniformDynamic { uvec4 value; } uniform_dynamic;
layout(set = 0, binding = 3) buffer StorageDynamic { uvec4 value; } storage_dynamic;
layout(set = 0, binding = 4) uniform utextureBuffer uniform_texel;
layout(set = 0, binding = 5, r32ui) uniform uimageBuffer storage_texel;
layout(set = 0, binding = 6) uniform texture2D sampled;
layout(set = 0, binding = 7) uniform sampler plain;
layout(set = 0, binding = 8) uniform sampler2D combined[2];
layout(set = 0, binding = 9, rgba8) uniform image2D stored;
layout(set = 1, binding = 0) buffer Result { uvec4 words[]; } result;
void main() {
    result.words[0] = uniform_buffer.value;
    result.words[1] = storage_buffer.value;
    result.words[2] = uniform_dynamic.value;
    result.words[3] = storage_dynamic.value;
    result.words[4] = uvec4(texelFetch(uniform_texel, 3).x, imageLoad(storage_texel, 2).x, 0, 0);
    result.words[5] = uvec4(textureLod(sampler2D(sampled, plain), vec2(0.3), 0.0) * 255.0);
    result.words[6] = uvec4(textureLod(combined[0], vec2(0.6), 0.0) * 255.0);
    result.words[7] = uvec4(textureLod(combined[1], vec2(0.9), 0.0) * 255.0);
    result.words[8] = uvec4(imageLoad(stored, ivec2(1, 2)) * 255.0);
    storage_buffer.value += 1;
    storage_dynamic.value += 2;
    imageStore(storage_texel, 5, uvec4(77));
    imageStore(stored, ivec2(3, 3), vec4(0.25, 0.5, 0.75, 1.0));
}
