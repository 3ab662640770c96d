#version 450
// An inline uniform block and an array of storage buffers, copied out.
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) uniform Inline { uvec4 values[2]; } block;
layout(set = 0, binding = 1) buffer Result { uvec4 words[]; } result;
void main() {
    result.words[0] = block.values[0];
    result.words[1] = block.values[1];
}
