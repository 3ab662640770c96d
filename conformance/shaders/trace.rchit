#version 460
#extension GL_EXT_ray_tracing : require
layout(location = 0) rayPayloadInEXT uint hit;
void main() { hit = uint(gl_PrimitiveID) + 16u * uint(gl_InstanceCustomIndexEXT) + 256u * uint(gl_HitTEXT * 8.0 + 0.5); }
