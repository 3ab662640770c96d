//! The pictures on the meshes, computed: a chequered floor, stripes for the knot, crates for the cubes.

/// Width and height of each layer in texels.
pub(crate) const SIZE: u32 = 256;
/// One layer for each mesh.
pub(crate) const LAYERS: u32 = 3;
/// Down to one texel.
pub(crate) const MIP_LEVELS: u32 = SIZE.ilog2() + 1;

/// All mip levels of a layer, RGBA of 8 bits, largest first.
pub(crate) fn layer(number: u32) -> Vec<Vec<u8>> {
    let texel = match number {
        0 => floor,
        1 => stripes,
        _ => crate_wood,
    };
    let mut levels = vec![(0..SIZE * SIZE).flat_map(|i| texel(i % SIZE, i / SIZE)).collect::<Vec<u8>>()];
    for level in 1..MIP_LEVELS {
        let halved = halve(&levels[level as usize - 1], SIZE >> level);
        levels.push(halved);
    }
    levels
}

/// The next smaller level: the mean of each four texels.
fn halve(larger: &[u8], size: u32) -> Vec<u8> {
    let row = size as usize * 2;
    let texel = |x: usize, y: usize, channel: usize| u32::from(larger[(y * row + x) * 4 + channel]);
    let mut smaller = Vec::with_capacity((size * size * 4) as usize);
    for (y, x) in (0..size as usize).flat_map(|y| (0..size as usize).map(move |x| (y * 2, x * 2))) {
        for channel in 0..4 {
            let sum = texel(x, y, channel)
                + texel(x + 1, y, channel)
                + texel(x, y + 1, channel)
                + texel(x + 1, y + 1, channel);
            smaller.push((sum / 4) as u8);
        }
    }
    smaller
}

fn floor(x: u32, y: u32) -> [u8; 4] {
    let light = (x / (SIZE / 2) + y / (SIZE / 2)).is_multiple_of(2);
    let joint = x % (SIZE / 2) < 3 || y % (SIZE / 2) < 3;
    match (joint, light) {
        (true, _) => [120, 115, 105, 255],
        (false, true) => [232, 226, 212, 255],
        (false, false) => [58, 70, 92, 255],
    }
}

fn stripes(x: u32, y: u32) -> [u8; 4] {
    if (x + y) % 64 < 32 { [250, 205, 90, 255] } else { [205, 92, 40, 255] }
}

fn crate_wood(x: u32, y: u32) -> [u8; 4] {
    const BORDER: u32 = SIZE / 8;
    let edge = x.min(y).min(SIZE - 1 - x).min(SIZE - 1 - y);
    let diagonal = x.abs_diff(y) < BORDER / 2;
    let board = if edge < BORDER || diagonal { 240 } else { 165 };
    let grain = (x * 7 + y * 3 + (x * y) / 64) % 23;
    let value = (board - grain) as u8;
    if edge < BORDER && edge + 3 > BORDER { [60, 60, 60, 255] } else { [value, value, value, 255] }
}
