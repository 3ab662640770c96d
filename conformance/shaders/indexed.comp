#version 450
#extension GL_EXT_nonuniform_qualifier : require
// Picks buffers out of an array of unknown length by an index that differs between invocations.
layout(local_size_x = 8) in;
layout(set = 0, binding = 0) buffer Result { uint words[]; } result;
layout(set = 0, binding = 1) buffer Source { uint words[]; } sources[];
void main() {
    uint i = gl_LocalInvocationIndex;
    result.words[i] = sources[nonuniformEXT(i % 3)].words[i];
}
