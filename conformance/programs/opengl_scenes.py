"""OpenGL with PyPI's moderngl, off screen: with Mesa's zink as the OpenGL driver every call of it becomes Vulkan.

Prints the hash of each result; on one device they are the same in every run.
"""

import hashlib
import sys

import moderngl
import numpy as np

SIZE = (192, 128)


def report(name, data):
    values = np.frombuffer(data, dtype=np.uint8)
    print(f"{name}: {values.size} bytes, varied {len(np.unique(values)) > 8}, {hashlib.sha256(data).hexdigest()}")


def grid(columns, rows):
    """A strip of triangles over the unit square: position, then colour."""
    corners = []
    for row in range(rows):
        for column in range(columns):
            for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 0), (1, 1), (0, 1)):
                x, y = (column + dx) / columns, (row + dy) / rows
                corners.append((x, y, np.sin(9 * x) * 0.5 + 0.5, y, 1 - x))
    return np.array(corners, dtype="f4")


def textures(gl):
    """Mipmapped, compared and cube textures sampled in one shader."""
    noise = np.random.Generator(np.random.PCG64(7)).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    texture = gl.texture((64, 64), 4, noise.tobytes())
    texture.build_mipmaps()
    texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
    texture.anisotropy = 4.0
    cube = gl.texture_cube((16, 16), 4, np.repeat(np.arange(6, dtype=np.uint8) * 40, 1024).tobytes())
    volume = gl.texture3d((8, 8, 8), 1, np.arange(512, dtype=np.uint16).astype(np.uint8).tobytes())
    program = gl.program(
        vertex_shader="""#version 430
            in vec2 corner; in vec3 colour; out vec2 at; out vec3 tint;
            void main() { at = corner * 3.0; tint = colour; gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0); }""",
        fragment_shader="""#version 430
            in vec2 at; in vec3 tint; out vec4 pixel;
            uniform sampler2D noise; uniform samplerCube sky; uniform sampler3D cloud;
            void main() {
                vec3 way = vec3(at - 1.5, 0.7);
                pixel = texture(noise, at) * vec4(tint, 1.0) + texture(sky, way) * 0.3 + texture(cloud, way).rrrr * 0.2
                    + vec4(textureLod(noise, at, 3.0).rg, fwidth(at));
            }""",
    )
    for unit, (name, bound) in enumerate((("noise", texture), ("sky", cube), ("cloud", volume))):
        bound.use(unit)
        program[name] = unit
    target = gl.simple_framebuffer(SIZE)
    target.use()
    target.clear(0.1, 0.2, 0.3)
    gl.vertex_array(program, [(gl.buffer(grid(6, 4)), "2f4 3f4", "corner", "colour")]).render()
    report("textures", target.read(components=4))


def depth_and_samples(gl):
    """Instances that hide one another, blended, with four samples, resolved."""
    program = gl.program(
        vertex_shader="""#version 430
            in vec2 corner; in vec3 colour; out vec3 tint;
            void main() {
                float turn = gl_InstanceID * 0.7;
                mat2 by = mat2(cos(turn), sin(turn), -sin(turn), cos(turn));
                tint = colour * (1.0 - gl_InstanceID * 0.08);
                gl_Position = vec4(by * (corner - 0.4), (gl_InstanceID * 5 % 7) / 8.0, 1.0);
            }""",
        fragment_shader="""#version 430
            in vec3 tint; out vec4 pixel; uniform Block { float strength; };
            void main() { pixel = vec4(tint * strength, 0.7); }""",
    )
    program["Block"].binding = 1
    gl.buffer(np.array([0.9, 0, 0, 0], dtype="f4")).bind_to_uniform_block(1)
    many = gl.framebuffer([gl.renderbuffer(SIZE, samples=4)], gl.depth_renderbuffer(SIZE, samples=4))
    many.use()
    many.clear(depth=1.0)
    gl.enable(moderngl.DEPTH_TEST | moderngl.BLEND | moderngl.CULL_FACE)
    gl.cull_face = "front"
    shape = gl.vertex_array(program, [(gl.buffer(grid(3, 3)), "2f4 3f4", "corner", "colour")])
    shape.render(instances=4)
    gl.cull_face = "back"
    query = gl.query(samples=True, primitives=True)
    with query:
        shape.render(instances=9)
    target = gl.simple_framebuffer(SIZE)
    gl.copy_framebuffer(target, many)
    gl.disable(moderngl.DEPTH_TEST | moderngl.BLEND | moderngl.CULL_FACE)
    report("depth and samples", target.read(components=4))
    print(f"depth and samples: counted {query.samples} samples, {query.primitives} primitives")


def shadow(gl):
    """Depth rendered to a texture, then compared with."""
    depth = gl.depth_texture(SIZE)
    only_depth = gl.framebuffer(depth_attachment=depth)
    vertex = """#version 430
        in vec2 corner; in vec3 colour; out vec2 at;
        void main() { at = corner; gl_Position = vec4(corner * 1.6 - 0.8, colour.x * 1.4 - 0.7, 1.0); }"""
    gl.enable(moderngl.DEPTH_TEST)
    only_depth.use()
    only_depth.clear(depth=1.0)
    program = gl.program(vertex_shader=vertex, fragment_shader="#version 430\nvoid main() {}")
    data = gl.buffer(grid(8, 5))
    gl.vertex_array(program, [(data, "2f4 3f4", "corner", "colour")]).render()
    gl.disable(moderngl.DEPTH_TEST)
    depth.compare_func = "<="
    program = gl.program(
        vertex_shader=vertex,
        fragment_shader="""#version 430
            in vec2 at; out vec4 pixel; uniform sampler2DShadow hidden;
            void main() { pixel = vec4(texture(hidden, vec3(at, at.x)), textureGather(hidden, at, at.y).xy, 1.0); }""",
    )
    depth.use(0)
    target = gl.simple_framebuffer(SIZE)
    target.use()
    target.clear()
    gl.vertex_array(program, [(data, "2f4 3f4", "corner", "colour")]).render()
    report("shadow", target.read(components=4))
    report("shadow, depth", depth.read())


def targets(gl):
    """Three attachments of different formats and a geometry shader."""
    attachments = [gl.texture(SIZE, 4, dtype="f2"), gl.texture(SIZE, 2, dtype="u4"), gl.texture(SIZE, 1, dtype="f1")]
    target = gl.framebuffer(attachments)
    target.use()
    target.clear()
    program = gl.program(
        vertex_shader="""#version 430
            in vec2 corner; in vec3 colour; out vec3 tint;
            void main() { tint = colour; gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0); }""",
        geometry_shader="""#version 430
            layout(points) in; layout(triangle_strip, max_vertices = 4) out; in vec3 tint[]; out vec3 shade;
            void main() {
                for (int i = 0; i < 4; i++) {
                    shade = tint[0] * (1.0 + i * 0.2);
                    gl_Position = gl_in[0].gl_Position + vec4(i % 2 * 0.1, i / 2 * 0.15, 0.0, 0.0);
                    EmitVertex();
                }
            }""",
        fragment_shader="""#version 430
            in vec3 shade; layout(location = 0) out vec4 a; layout(location = 1) out uvec2 b; layout(location = 2) out float c;
            void main() { a = vec4(shade * 3.0, 1.0); b = uvec2(gl_FragCoord.xy * 7.0); c = shade.y; }""",
    )
    shape = gl.vertex_array(program, [(gl.buffer(grid(9, 6)), "2f4 3f4", "corner", "colour")])
    shape.render(moderngl.POINTS)
    for number, texture in enumerate(attachments):
        report(f"target {number}", texture.read())


def feedback(gl):
    """Vertices captured by transform feedback."""
    program = gl.program(
        vertex_shader="""#version 430
            in vec2 corner; in vec3 colour; out vec4 moved; out vec3 mixed;
            void main() { moved = vec4(corner.yx * 2.0, sin(colour.xy)); mixed = colour * gl_VertexID; }""",
        varyings=["moved", "mixed"],
    )
    data = grid(7, 5)
    captured = gl.buffer(reserve=len(data) * 28)
    gl.vertex_array(program, [(gl.buffer(data), "2f4 3f4", "corner", "colour")]).transform(captured, moderngl.POINTS)
    report("feedback", captured.read())


def compute(gl):
    """A compute shader with storage buffers, an image, shared memory and atomics; then indirect drawing of its points."""
    program = gl.compute_shader("""#version 430
        layout(local_size_x = 8, local_size_y = 8) in;
        layout(std430, binding = 0) buffer Points { vec4 points[]; };
        layout(std430, binding = 1) buffer Draw { uint count, instances, first, base; uint histogram[16]; };
        layout(rgba8, binding = 2) uniform writeonly image2D picture;
        shared uint sum;
        void main() {
            if (gl_LocalInvocationIndex == 0u) sum = 0u;
            barrier();
            uvec2 at = gl_GlobalInvocationID.xy;
            atomicAdd(sum, at.x ^ at.y);
            barrier();
            uint value = (sum + at.x * 3u + at.y * 5u) % 16u;
            atomicAdd(histogram[value], 1u);
            atomicAdd(count, 1u);
            points[at.y * 64u + at.x] = vec4(vec2(at) / 32.0 - 1.0, value / 16.0, 1.0);
            imageStore(picture, ivec2(at), vec4(value, at, 16.0) / 64.0);
        }""")
    points = gl.buffer(reserve=64 * 64 * 16)
    draw = gl.buffer(np.array([0, 1, 0, 0] + [0] * 16, dtype="u4"))
    picture = gl.texture((64, 64), 4)
    points.bind_to_storage_buffer(0)
    draw.bind_to_storage_buffer(1)
    picture.bind_to_image(2, read=False, write=True)
    program.run(8, 8)
    gl.memory_barrier()
    report("compute, picture", picture.read())
    print("compute, histogram:", *np.frombuffer(draw.read(), dtype="u4"))
    target = gl.simple_framebuffer(SIZE)
    target.use()
    target.clear()
    shape = gl.program(
        vertex_shader="#version 430\nin vec4 at; out float shade; void main() { shade = at.z; gl_Position = at; }",
        fragment_shader="#version 430\nin float shade; out vec4 pixel; void main() { pixel = vec4(shade, 1.0 - shade, 0.5, 1.0); }",
    )
    gl.vertex_array(shape, [(points, "4f4", "at")], mode=moderngl.POINTS).render_indirect(draw, moderngl.POINTS, 1)
    report("compute, drawn", target.read(components=4))


def main():
    gl = moderngl.create_standalone_context(backend="egl", require=430)
    print("device:", gl.info["GL_RENDERER"])
    print("version:", gl.info["GL_VERSION"])
    for part in (textures, depth_and_samples, shadow, targets, feedback, compute):
        part(gl)
        if gl.error != "GL_NO_ERROR":
            sys.exit(f"{part.__name__}: {gl.error}")


main()
