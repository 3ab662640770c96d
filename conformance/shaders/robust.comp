#version 450
// Reads and writes far outside of its buffers.
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) buffer Data { uint words[]; } data;
layout(set = 0, binding = 1) buffer Result { uint words[]; } result;
layout(push_constant) uniform Push { uint beyond; } push;
void main() {
    result.words[0] = data.words[push.beyond] == 0 ? 1 : 0;
    data.words[push.beyond] = 0xdeadbeef;
    result.words[1] = data.words[0];
}
