#version 450
// Specialisation constants of every scalar type, and one that sets the size of the workgroup.
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint COUNT = 4;
layout(constant_id = 2) const float SCALE = 1.0;
layout(constant_id = 3) const bool ADD = false;
layout(constant_id = 4) const int OFFSET = 0;
layout(set = 0, binding = 0) buffer Words { uint words[]; };
shared uint sums[COUNT];
void main() {
    uint i = gl_LocalInvocationIndex;
    if (i < COUNT) sums[i] = 0;
    barrier();
    atomicAdd(sums[i % COUNT], i);
    barrier();
    uint value = uint(float(sums[i % COUNT]) * SCALE) + (ADD ? gl_WorkGroupID.x : 0u);
    words[gl_GlobalInvocationID.x] = uint(int(value) + OFFSET);
}
