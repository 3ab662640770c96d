//! As much linear algebra as one camera and one light need. Column-major, right-handed, depth from 0 to 1.

/// Four columns.
pub(crate) type Matrix = [[f32; 4]; 4];
/// A point or a direction.
pub(crate) type Vector = [f32; 3];

pub(crate) fn subtract(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(crate) fn dot(a: Vector, b: Vector) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(crate) fn normalize(a: Vector) -> Vector {
    let length = dot(a, a).sqrt();
    a.map(|value| value / length)
}

pub(crate) fn multiply(a: &Matrix, b: &Matrix) -> Matrix {
    b.map(|column| std::array::from_fn(|row| (0..4).map(|k| a[k][row] * column[k]).sum()))
}

/// World to view: seen from `eye` towards `target`, y up.
pub(crate) fn look_at(eye: Vector, target: Vector) -> Matrix {
    let back = normalize(subtract(eye, target));
    let right = normalize(cross([0.0, 1.0, 0.0], back));
    let up = cross(back, right);
    [
        [right[0], up[0], back[0], 0.0],
        [right[1], up[1], back[1], 0.0],
        [right[2], up[2], back[2], 0.0],
        [-dot(right, eye), -dot(up, eye), -dot(back, eye), 1.0],
    ]
}

/// View to clip: vertical field of view in radians, width by height, distances of the clip planes.
pub(crate) fn perspective(field_of_view: f32, aspect: f32, near: f32, far: f32) -> Matrix {
    let scale = 1.0 / (field_of_view / 2.0).tan();
    let depth = far / (near - far);
    [
        [scale / aspect, 0.0, 0.0, 0.0],
        [0.0, scale, 0.0, 0.0],
        [0.0, 0.0, depth, -1.0],
        [0.0, 0.0, near * depth, 0.0],
    ]
}

/// View to clip without perspective: a box of half-width `extent`.
pub(crate) fn orthographic(extent: f32, near: f32, far: f32) -> Matrix {
    let depth = 1.0 / (near - far);
    [
        [1.0 / extent, 0.0, 0.0, 0.0],
        [0.0, 1.0 / extent, 0.0, 0.0],
        [0.0, 0.0, depth, 0.0],
        [0.0, 0.0, near * depth, 1.0],
    ]
}
