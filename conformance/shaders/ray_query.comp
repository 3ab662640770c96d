#version 460
#extension GL_EXT_ray_query : require
// A ray for each invocation of a grid; where it hits is written.
layout(local_size_x = 8, local_size_y = 8) in;
layout(set = 0, binding = 0) uniform accelerationStructureEXT scene;
layout(set = 0, binding = 1) buffer Result { uint hits[]; } result;
void main() {
    uvec2 at = gl_GlobalInvocationID.xy;
    vec2 origin = (vec2(at) + 0.5) / 16.0 * 2.0 - 1.0;
    rayQueryEXT query;
    rayQueryInitializeEXT(query, scene, gl_RayFlagsOpaqueEXT, 0xff, vec3(origin, -1.0), 0.0, vec3(0.0, 0.0, 1.0), 10.0);
    while (rayQueryProceedEXT(query)) {}
    uint hit = 0xffffffffu;
    if (rayQueryGetIntersectionTypeEXT(query, true) != gl_RayQueryCommittedIntersectionNoneEXT) {
        hit = uint(rayQueryGetIntersectionPrimitiveIndexEXT(query, true))
            + 16u * uint(rayQueryGetIntersectionInstanceCustomIndexEXT(query, true))
            + 256u * uint(rayQueryGetIntersectionTEXT(query, true) * 8.0 + 0.5);
    }
    result.hits[at.y * 16 + at.x] = hit;
}
