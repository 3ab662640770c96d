#version 450
// Reads four words of a uniform buffer.
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) uniform Data { uvec4 words; } data;
layout(set = 0, binding = 1) buffer Result { uvec4 words; } result;
void main() { result.words = data.words.wzyx; }
