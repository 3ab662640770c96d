#version 450
// Reads, measures and writes what is behind a descriptor of each type, at an index that may lie outside of it.
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) uniform sampler2D image;
layout(set = 0, binding = 1, rgba8) uniform image2D storage_image;
layout(set = 0, binding = 2) uniform samplerBuffer texels;
layout(set = 0, binding = 3, rgba8) uniform imageBuffer storage_texels;
layout(set = 0, binding = 4) uniform Uniform { uvec4 values[4]; } uniforms;
layout(set = 0, binding = 5) buffer Storage { uint words[]; } storage;
layout(set = 0, binding = 6) buffer Result { uvec4 words[]; } result;
layout(push_constant) uniform Push { int at; } push;
void main() {
    int at = push.at;
    result.words[0] = floatBitsToUint(texelFetch(image, ivec2(at, 1), 0));
    result.words[1] = floatBitsToUint(imageLoad(storage_image, ivec2(1, at)));
    result.words[2] = floatBitsToUint(texelFetch(texels, at));
    result.words[3] = floatBitsToUint(imageLoad(storage_texels, at));
    result.words[4] = uniforms.values[at];
    result.words[5] = uvec4(storage.words[at], storage.words.length(), textureSize(texels), imageSize(storage_texels));
    result.words[6] = uvec4(textureSize(image, 0), imageSize(storage_image));
    imageStore(storage_image, ivec2(at, at), vec4(1.0));
    imageStore(storage_texels, at, vec4(1.0));
    storage.words[at] = 0x600dcafe;
}
