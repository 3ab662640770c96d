#version 450
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
// Follows device addresses: a list in one buffer, the values in another.
layout(local_size_x = 1) in;
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Words { uint words[]; };
layout(push_constant) uniform Push { Words source; Words target; uint count; } push;
void main() {
    for (uint i = 0; i < push.count; ++i) push.target.words[i] = push.source.words[push.count - 1 - i] ^ 0x5a5a5a5au;
}
