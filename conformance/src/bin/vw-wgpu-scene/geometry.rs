//! The meshes: a floor, a torus knot, a cube, one after the other in one vertex and one index buffer.

use std::f32::consts::TAU;
use std::ops::Range;

use crate::matrix::{Vector, cross, normalize, subtract};

/// Position, normal, texture coordinate.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Vertex {
    position: Vector,
    normal: Vector,
    uv: [f32; 2],
}

/// All meshes, and which indices are whose.
#[derive(Default)]
pub(crate) struct Geometry {
    pub(crate) vertices: Vec<Vertex>,
    pub(crate) indices: Vec<u32>,
    pub(crate) floor: Range<u32>,
    pub(crate) knot: Range<u32>,
    pub(crate) cube: Range<u32>,
}

impl Geometry {
    pub(crate) fn new() -> Self {
        let mut geometry = Self::default();
        geometry.floor = geometry.add(Self::add_floor);
        geometry.knot = geometry.add(Self::add_knot);
        geometry.cube = geometry.add(Self::add_cube);
        geometry
    }

    fn add(&mut self, mesh: impl FnOnce(&mut Self)) -> Range<u32> {
        let first = self.indices.len() as u32;
        mesh(self);
        first..self.indices.len() as u32
    }

    /// Four corners, counter-clockwise seen from where the normal points.
    fn add_quad(&mut self, corners: [Vector; 4], normal: Vector, repeat: f32) {
        let base = self.vertices.len() as u32;
        let uv = [[0.0, 0.0], [repeat, 0.0], [repeat, repeat], [0.0, repeat]];
        self.vertices.extend(corners.iter().zip(uv).map(|(&position, uv)| Vertex { position, normal, uv }));
        self.indices.extend([0, 1, 2, 0, 2, 3].map(|index| base + index));
    }

    fn add_floor(&mut self) {
        const HALF: f32 = 20.0;
        let corners = [[-HALF, 0.0, HALF], [HALF, 0.0, HALF], [HALF, 0.0, -HALF], [-HALF, 0.0, -HALF]];
        self.add_quad(corners, [0.0, 1.0, 0.0], 10.0);
    }

    fn add_cube(&mut self) {
        for axis in 0..3 {
            for sign in [-1.0_f32, 1.0] {
                let mut normal = [0.0; 3];
                normal[axis] = sign;
                let (mut right, mut up) = ([0.0; 3], [0.0; 3]);
                right[(axis + 1) % 3] = sign;
                up[(axis + 2) % 3] = 1.0;
                let corner =
                    |r: f32, u: f32| std::array::from_fn(|i| (normal[i] + r * right[i] + u * up[i]) * 0.5);
                let corners = [corner(-1.0, -1.0), corner(1.0, -1.0), corner(1.0, 1.0), corner(-1.0, 1.0)];
                self.add_quad(corners, normal, 1.0);
            }
        }
    }

    /// A tube around the (2, 3) torus knot.
    fn add_knot(&mut self) {
        const ALONG: u32 = 240;
        const AROUND: u32 = 24;
        const RADIUS: f32 = 0.36;
        let centre = |t: f32| -> Vector {
            let ring = 1.35 + 0.55 * (3.0 * t).cos();
            [ring * (2.0 * t).cos(), 0.75 * (3.0 * t).sin(), ring * (2.0 * t).sin()]
        };
        let base = self.vertices.len() as u32;
        for i in 0..=ALONG {
            let t = i as f32 / ALONG as f32 * TAU;
            let here = centre(t);
            let tangent = normalize(subtract(centre(t + 0.01), centre(t - 0.01)));
            let side = normalize(cross(tangent, here));
            let out = cross(side, tangent);
            for j in 0..=AROUND {
                let (sin, cos) = (j as f32 / AROUND as f32 * TAU).sin_cos();
                let normal: Vector = std::array::from_fn(|k| cos * side[k] + sin * out[k]);
                let position = std::array::from_fn(|k| here[k] + RADIUS * normal[k]);
                let uv = [i as f32 / ALONG as f32 * 24.0, j as f32 / AROUND as f32 * 3.0];
                self.vertices.push(Vertex { position, normal, uv });
            }
        }
        let row = AROUND + 1;
        for (i, j) in (0..ALONG).flat_map(|i| (0..AROUND).map(move |j| (i, j))) {
            let first = base + i * row + j;
            self.indices.extend([first, first + row, first + 1, first + 1, first + row, first + row + 1]);
        }
    }
}
