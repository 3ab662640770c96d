#version 450
// Each invocation writes one word: value + index * step.
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) buffer Words { uint words[]; };
layout(push_constant) uniform Push { uint value; uint step; uint count; } push;
void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i < push.count) words[i] = push.value + i * push.step;
}
