//! Which formats there are, and since when: `VkFormat` values to ask the driver about.

use vw_wire_protocol::schema::Provider::{self, Core, Extension};

use ash::vk::{API_VERSION_1_0, API_VERSION_1_1, API_VERSION_1_3, make_api_version};

/// A run of `VkFormat` values that came together.
struct Run {
    first: i32,
    last: i32,
    provided_by: &'static [Provider],
}

const API_VERSION_1_4: u32 = make_api_version(0, 1, 4, 0);

static RUNS: &[Run] = &[
    // Core 1.0: R4G4_UNORM_PACK8 to ASTC_12x12_SRGB_BLOCK.
    Run { first: 1, last: 184, provided_by: &[Core(API_VERSION_1_0)] },
    // PVRTC.
    Run { first: 1_000_054_000, last: 1_000_054_007, provided_by: &[Extension("VK_IMG_format_pvrtc")] },
    // ASTC HDR.
    Run {
        first: 1_000_066_000,
        last: 1_000_066_013,
        provided_by: &[Core(API_VERSION_1_3), Extension("VK_EXT_texture_compression_astc_hdr")],
    },
    // Y'CbCr: G8B8G8R8_422_UNORM to G16_B16_R16_3PLANE_444_UNORM.
    Run {
        first: 1_000_156_000,
        last: 1_000_156_033,
        provided_by: &[Core(API_VERSION_1_1), Extension("VK_KHR_sampler_ycbcr_conversion")],
    },
    // Two-plane 4:4:4.
    Run {
        first: 1_000_330_000,
        last: 1_000_330_003,
        provided_by: &[Core(API_VERSION_1_3), Extension("VK_EXT_ycbcr_2plane_444_formats")],
    },
    // A4R4G4B4, A4B4G4R4.
    Run {
        first: 1_000_340_000,
        last: 1_000_340_001,
        provided_by: &[Core(API_VERSION_1_3), Extension("VK_EXT_4444_formats")],
    },
    // R16G16_SFIXED5.
    Run { first: 1_000_464_000, last: 1_000_464_000, provided_by: &[Extension("VK_NV_optical_flow")] },
    // A1B5G5R5, A8.
    Run {
        first: 1_000_470_000,
        last: 1_000_470_001,
        provided_by: &[Core(API_VERSION_1_4), Extension("VK_KHR_maintenance5")],
    },
];

/// Every format that `provides` says the device knows of, in increasing order.
pub fn known(provides: impl Fn(&[Provider]) -> bool) -> impl Iterator<Item = i32> {
    RUNS.iter().filter(move |run| provides(run.provided_by)).flat_map(|run| run.first..=run.last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_when_listed_are_increasing_and_follow_the_version() {
        let all: Vec<_> = known(|_| true).collect();
        assert!(all.is_sorted() && all.len() > 240);
        let core: Vec<_> = known(|p| p.contains(&Core(API_VERSION_1_0))).collect();
        assert_eq!(core, (1..=184).collect::<Vec<_>>());
    }
}
