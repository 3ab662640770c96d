// Everything that runs on the device: motion, shadows, the picture, the histogram.

struct Globals {
    view: mat4x4<f32>,
    light: mat4x4<f32>,
    eye: vec3<f32>,
    time: f32,
    light_direction: vec3<f32>,
    frame: u32,
}

struct Instance {
    model: mat4x4<f32>,
    colour: vec4<f32>,
}

// ---- Motion: where each mesh stands in this frame.

@group(0) @binding(0) var<uniform> globals: Globals;
@group(0) @binding(1) var<storage, read_write> moving: array<Instance>;

fn rotation(axis: vec3<f32>, angle: f32) -> mat3x3<f32> {
    let a = normalize(axis);
    let s = sin(angle);
    let c = cos(angle);
    let t = 1.0 - c;
    return mat3x3<f32>(
        vec3<f32>(t * a.x * a.x + c, t * a.x * a.y + s * a.z, t * a.x * a.z - s * a.y),
        vec3<f32>(t * a.x * a.y - s * a.z, t * a.y * a.y + c, t * a.y * a.z + s * a.x),
        vec3<f32>(t * a.x * a.z + s * a.y, t * a.y * a.z - s * a.x, t * a.z * a.z + c),
    );
}

fn hue(h: f32) -> vec3<f32> {
    return clamp(abs(fract(vec3<f32>(h, h + 2.0 / 3.0, h + 1.0 / 3.0)) * 6.0 - 3.0) - 1.0, vec3<f32>(0.0), vec3<f32>(1.0));
}

@compute @workgroup_size(16)
fn move_instances(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if i >= arrayLength(&moving) {
        return;
    }
    var turn = mat3x3<f32>(vec3<f32>(1.0, 0.0, 0.0), vec3<f32>(0.0, 1.0, 0.0), vec3<f32>(0.0, 0.0, 1.0));
    var place = vec3<f32>(0.0);
    var scale = 1.0;
    var colour = vec4<f32>(1.0, 1.0, 1.0, 0.0);
    if i == 1u {
        turn = rotation(vec3<f32>(0.2, 1.0, 0.0), globals.time * 0.7 + 0.4);
        place = vec3<f32>(0.0, 2.0, 0.0);
        colour = vec4<f32>(1.0, 1.0, 1.0, 1.0);
    } else if i >= 2u {
        let share = f32(i - 2u) / f32(arrayLength(&moving) - 2u);
        let angle = share * 6.2831853 + globals.time * 0.25;
        scale = 0.85;
        turn = rotation(vec3<f32>(0.3, 1.0, 0.2), -angle + globals.time * share);
        place = vec3<f32>(cos(angle) * 4.3, 0.95 + 0.3 * sin(globals.time + share * 12.566371), sin(angle) * 4.3);
        colour = vec4<f32>(hue(share) * 0.75 + 0.25, 2.0);
    }
    moving[i].model = mat4x4<f32>(
        vec4<f32>(turn[0] * scale, 0.0),
        vec4<f32>(turn[1] * scale, 0.0),
        vec4<f32>(turn[2] * scale, 0.0),
        vec4<f32>(place, 1.0),
    );
    moving[i].colour = colour;
}

// ---- The picture.

@group(0) @binding(2) var<storage, read> instances: array<Instance>;
@group(0) @binding(3) var pictures: texture_2d_array<f32>;
@group(0) @binding(4) var repeating: sampler;
@group(0) @binding(5) var shadows: texture_depth_2d;
@group(0) @binding(6) var shadow_compare: sampler_comparison;

struct VertexIn {
    @location(0) position: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) uv: vec2<f32>,
    @builtin(instance_index) instance: u32,
}

struct Fragment {
    @builtin(position) clip: vec4<f32>,
    @location(0) world: vec3<f32>,
    @location(1) normal: vec3<f32>,
    @location(2) uv: vec2<f32>,
    @location(3) @interpolate(flat) colour: vec4<f32>,
}

@vertex
fn shadow_vertex(in: VertexIn) -> @builtin(position) vec4<f32> {
    return globals.light * (instances[in.instance].model * vec4<f32>(in.position, 1.0));
}

@vertex
fn scene_vertex(in: VertexIn) -> Fragment {
    let instance = instances[in.instance];
    let world = instance.model * vec4<f32>(in.position, 1.0);
    var out: Fragment;
    out.clip = globals.view * world;
    out.world = world.xyz;
    out.normal = (instance.model * vec4<f32>(in.normal, 0.0)).xyz;
    out.uv = in.uv;
    out.colour = instance.colour;
    return out;
}

fn lit(world: vec3<f32>) -> f32 {
    let clip = globals.light * vec4<f32>(world, 1.0);
    let uv = clip.xy * vec2<f32>(0.5, -0.5) + 0.5;
    let texel = 1.0 / f32(textureDimensions(shadows).x);
    var sum = 0.0;
    for (var y = -1; y <= 1; y++) {
        for (var x = -1; x <= 1; x++) {
            let at = uv + vec2<f32>(f32(x), f32(y)) * texel;
            sum += textureSampleCompareLevel(shadows, shadow_compare, at, clip.z - 0.003);
        }
    }
    return sum / 9.0;
}

@fragment
fn scene_fragment(in: Fragment) -> @location(0) vec4<f32> {
    let normal = normalize(in.normal);
    let to_eye = normalize(globals.eye - in.world);
    let to_light = -globals.light_direction;
    let texel = textureSample(pictures, repeating, in.uv, u32(in.colour.w)).rgb * in.colour.rgb;
    let shade = lit(in.world + normal * 0.03);
    let diffuse = max(dot(normal, to_light), 0.0) * shade;
    let glossy = select(60.0, 24.0, in.colour.w < 0.5);
    let specular = pow(max(dot(normal, normalize(to_light + to_eye)), 0.0), glossy) * shade;
    let sky = vec3<f32>(0.42, 0.58, 0.80);
    let ambient = mix(vec3<f32>(0.16, 0.14, 0.12), sky * 0.45, normal.y * 0.5 + 0.5);
    let colour = texel * (ambient + diffuse * vec3<f32>(1.0, 0.95, 0.85)) + specular * 0.35;
    let fog = smoothstep(9.0, 22.0, distance(globals.eye, in.world));
    return vec4<f32>(mix(colour, sky, fog), 1.0);
}

// ---- The histogram of the picture's brightness.

@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var<storage, read_write> histogram: array<atomic<u32>>;
var<workgroup> counts: array<atomic<u32>, 64>;

@compute @workgroup_size(8, 8)
fn measure(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let size = textureDimensions(picture);
    if id.x < size.x && id.y < size.y {
        let brightness = dot(textureLoad(picture, id.xy, 0).rgb, vec3<f32>(0.2126, 0.7152, 0.0722));
        atomicAdd(&counts[min(u32(brightness * 64.0), 63u)], 1u);
    }
    workgroupBarrier();
    atomicAdd(&histogram[local], atomicLoad(&counts[local]));
}
