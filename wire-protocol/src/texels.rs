//! Copies between a program's memory and images: how much memory one takes.
//!
//! Guest and host work it out from the same facts by the same rules, so that the host need not believe the guest.

use crate::generated::formats::FORMATS;
use crate::schema::Aspect;

/// `VK_REMAINING_ARRAY_LAYERS`.
const REMAINING: u32 = u32::MAX;

/// What has to be known of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// `VkFormat`.
    pub format: i32,
    /// Width, height and depth in texels.
    pub extent: [u32; 3],
    /// Number of mip levels.
    pub mip_levels: u32,
    /// Number of array layers; 1 where the depth is more than 1.
    pub array_layers: u32,
}

/// A part of one mip level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// One `VkImageAspectFlagBits`.
    pub aspect: u32,
    /// Mip level.
    pub mip_level: u32,
    /// First layer.
    pub base_array_layer: u32,
    /// Number of layers, or `VK_REMAINING_ARRAY_LAYERS`.
    pub layer_count: u32,
    /// First texel; of a plane, in texels of the plane.
    pub offset: [i32; 3],
    /// Width, height and depth in texels; none is 0.
    pub extent: [u32; 3],
}

/// A region as rows of texel blocks, closely packed: slices of `rows` rows of `row_bytes` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Bytes of a texel block.
    pub block_size: u32,
    /// Width and height of a texel block in texels.
    pub block_extent: [u32; 2],
    /// Bytes of a row of blocks.
    pub row_bytes: u64,
    /// Rows of blocks in a slice.
    pub rows: u32,
    /// Depth slices or layers: one of the two is 1.
    pub slices: u32,
    /// Layers among them; 1 when the slices are in depth.
    pub layers: u32,
}

impl Image {
    /// Whether the image has this one aspect.
    pub fn has(&self, bit: u32) -> bool {
        aspect(self.format, bit).is_some()
    }

    /// The region as rows; `None` when it is not whole blocks in this image.
    pub fn rows(&self, region: &Region) -> Option<Rows> {
        let aspect = aspect(self.format, region.aspect)?;
        if region.mip_level >= self.mip_levels {
            return None;
        }
        let left = self.array_layers.checked_sub(region.base_array_layer)?;
        let layers = if region.layer_count == REMAINING { left } else { region.layer_count };
        let [divide_x, divide_y] = aspect.divisors;
        for (axis, divisor) in [divide_x, divide_y, 1].into_iter().enumerate() {
            let whole = self.extent[axis].checked_shr(region.mip_level).unwrap_or(0).max(1).div_ceil(divisor);
            let block = aspect.block_extent.get(axis).copied().unwrap_or(1);
            let start = u32::try_from(region.offset[axis]).ok()?;
            let end = start.checked_add(region.extent[axis]).filter(|end| *end > start && *end <= whole)?;
            if start % block != 0 || (end % block != 0 && end != whole) {
                return None;
            }
        }
        let [width, height, depth] = region.extent;
        if layers == 0 || layers > left || (layers > 1 && depth > 1) {
            return None;
        }
        let [block_x, block_y] = aspect.block_extent;
        Some(Rows {
            block_size: aspect.block_size,
            block_extent: aspect.block_extent,
            row_bytes: u64::from(width.div_ceil(block_x)) * u64::from(aspect.block_size),
            rows: height.div_ceil(block_y),
            slices: layers.max(depth),
            layers,
        })
    }
}

impl Rows {
    /// Bytes of a slice.
    pub fn slice_bytes(&self) -> u64 {
        self.row_bytes * u64::from(self.rows)
    }

    /// Bytes of all slices; `None` when they are more than can be counted.
    pub fn bytes(&self) -> Option<u64> {
        self.slice_bytes().checked_mul(self.slices.into())
    }

    /// Bytes from row to row and from slice to slice where `memoryRowLength` and `memoryImageHeight` are these;
    /// 0 for closely packed.
    pub fn pitches(&self, row_length: u32, image_height: u32) -> (u64, u64) {
        let [block_x, block_y] = self.block_extent;
        let row = match row_length {
            0 => self.row_bytes,
            texels => u64::from(texels.div_ceil(block_x)) * u64::from(self.block_size),
        };
        let rows = if image_height == 0 { self.rows } else { image_height.div_ceil(block_y) };
        (row, row * u64::from(rows))
    }
}

fn aspect(format: i32, bit: u32) -> Option<&'static Aspect> {
    let at = FORMATS.binary_search_by_key(&format, |format| format.value).ok()?;
    FORMATS[at].aspects.iter().find(|aspect| aspect.bit == bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const R8G8B8A8_UNORM: i32 = 37;
    const D32_SFLOAT_S8_UINT: i32 = 130;
    const BC1_RGB_UNORM_BLOCK: i32 = 131;
    const G8_B8R8_2PLANE_420_UNORM: i32 = 1_000_156_003;
    const IMAGE: Image =
        Image { format: R8G8B8A8_UNORM, extent: [30, 20, 1], mip_levels: 3, array_layers: 4 };
    const REGION: Region = Region {
        aspect: 1,
        mip_level: 0,
        base_array_layer: 0,
        layer_count: 1,
        offset: [0; 3],
        extent: [30, 20, 1],
    };

    #[test]
    fn rows_when_the_region_is_whole_cover_the_level() {
        let rows = IMAGE.rows(&REGION);
        assert_eq!(rows.map(|r| (r.row_bytes, r.rows, r.slices)), Some((120, 20, 1)));
        let small = Region { mip_level: 2, extent: [7, 5, 1], layer_count: REMAINING, ..REGION };
        let rows = IMAGE.rows(&Region { base_array_layer: 1, ..small });
        assert_eq!(rows.and_then(|r| r.bytes()), Some(7 * 4 * 5 * 3));
    }

    #[test]
    fn region_when_not_in_the_image_has_no_rows() {
        let wrong = [
            Region { mip_level: 3, ..REGION },
            Region { aspect: 2, ..REGION },
            Region { base_array_layer: 5, layer_count: REMAINING, ..REGION },
            Region { base_array_layer: 3, layer_count: 2, ..REGION },
            Region { layer_count: 0, ..REGION },
            Region { offset: [1, 0, 0], ..REGION },
            Region { offset: [0, -1, 0], ..REGION },
            Region { offset: [0, 0, 1], ..REGION },
            Region { extent: [30, 0, 1], ..REGION },
            Region { extent: [u32::MAX, 1, 1], offset: [1, 0, 0], ..REGION },
            Region { extent: [30, 20, 2], ..REGION },
        ];
        for region in wrong {
            assert_eq!(IMAGE.rows(&region), None, "{region:?}");
        }
        assert_eq!(Image { format: 12345, ..IMAGE }.rows(&REGION), None);
    }

    #[test]
    fn rows_when_compressed_are_rows_of_blocks_up_to_the_edge() {
        let image = Image { format: BC1_RGB_UNORM_BLOCK, ..IMAGE };
        assert_eq!(image.rows(&REGION).map(|r| (r.row_bytes, r.rows)), Some((8 * 8, 5)));
        let edge = Region { offset: [28, 16, 0], extent: [2, 4, 1], ..REGION };
        assert_eq!(image.rows(&edge).map(|r| (r.row_bytes, r.rows)), Some((8, 1)));
        assert_eq!(image.rows(&Region { offset: [2, 0, 0], extent: [4, 4, 1], ..REGION }), None);
        assert_eq!(image.rows(&Region { extent: [6, 4, 1], ..REGION }), None);
    }

    #[test]
    fn rows_when_of_one_aspect_have_its_texels() {
        let depth_stencil = Image { format: D32_SFLOAT_S8_UINT, ..IMAGE };
        let row = |image: &Image, region: &Region| image.rows(region).map(|r| r.row_bytes);
        assert_eq!(row(&depth_stencil, &Region { aspect: 2, ..REGION }), Some(120));
        assert_eq!(row(&depth_stencil, &Region { aspect: 4, ..REGION }), Some(30));
        assert_eq!(row(&depth_stencil, &Region { aspect: 6, ..REGION }), None);
        let planes = Image { format: G8_B8R8_2PLANE_420_UNORM, ..IMAGE };
        assert_eq!(row(&planes, &Region { aspect: 0x10, ..REGION }), Some(30));
        assert_eq!(row(&planes, &Region { aspect: 0x20, extent: [15, 10, 1], ..REGION }), Some(30));
        assert_eq!(row(&planes, &Region { aspect: 0x20, ..REGION }), None);
    }

    #[test]
    fn pitches_when_the_memory_is_wider_follow_it() {
        let image = Image { format: BC1_RGB_UNORM_BLOCK, ..IMAGE };
        let rows = image.rows(&Region { extent: [8, 8, 1], ..REGION });
        assert_eq!(rows.map(|r| r.pitches(0, 0)), Some((16, 32)));
        assert_eq!(rows.map(|r| r.pitches(17, 12)), Some((40, 120)));
    }
}
