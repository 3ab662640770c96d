#version 450
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_KHR_shader_subgroup_ballot : require
// Subgroup operations and atomics of a workgroup.
layout(local_size_x = 32) in;
layout(set = 0, binding = 0) buffer Words { uint words[]; };
void main() {
    uint i = gl_LocalInvocationIndex;
    uint ballot = subgroupBallot((i & 1) == 0).x;
    words[i] = ballot + (subgroupAll(i < 32) ? 1000u : 0u) + subgroupBroadcastFirst(i);
    atomicAdd(words[32], i);
    atomicMax(words[33], i * 3);
    atomicXor(words[34], 1u << (i & 31));
}
