#version 450
// Adds a value, a whole number of times, to words of its own.
layout(local_size_x = 8) in;
layout(constant_id = 0) const uint times = 1;
layout(set = 0, binding = 0) buffer Words { uint words[]; };
layout(push_constant) uniform Push { uint at; uint value; } push;
void main() { atomicAdd(words[push.at + gl_GlobalInvocationID.x], push.value * times + gl_LocalInvocationIndex); }
