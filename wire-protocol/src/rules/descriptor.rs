//! Which of `VkWriteDescriptorSet`'s three arrays a descriptor type uses. Types that use none
//! (inline uniform blocks, acceleration structures) carry their data in the chain.

const SAMPLER: u32 = 0;
const COMBINED_IMAGE_SAMPLER: u32 = 1;
const SAMPLED_IMAGE: u32 = 2;
const STORAGE_IMAGE: u32 = 3;
const UNIFORM_TEXEL_BUFFER: u32 = 4;
const STORAGE_TEXEL_BUFFER: u32 = 5;
const UNIFORM_BUFFER: u32 = 6;
const STORAGE_BUFFER: u32 = 7;
const UNIFORM_BUFFER_DYNAMIC: u32 = 8;
const STORAGE_BUFFER_DYNAMIC: u32 = 9;
const INPUT_ATTACHMENT: u32 = 10;
const SAMPLE_WEIGHT_IMAGE_QCOM: u32 = 1_000_440_000;
const BLOCK_MATCH_IMAGE_QCOM: u32 = 1_000_440_001;

/// A descriptor of a mutable binding is written with the type that it takes on, so that
/// `VK_DESCRIPTOR_TYPE_MUTABLE_EXT` does not occur here.
#[inline]
pub(crate) fn is_image(descriptor_type: u32) -> bool {
    matches!(
        descriptor_type,
        SAMPLER
            | COMBINED_IMAGE_SAMPLER
            | SAMPLED_IMAGE
            | STORAGE_IMAGE
            | INPUT_ATTACHMENT
            | SAMPLE_WEIGHT_IMAGE_QCOM
            | BLOCK_MATCH_IMAGE_QCOM
    )
}

#[inline]
pub(crate) fn is_buffer(descriptor_type: u32) -> bool {
    matches!(
        descriptor_type,
        UNIFORM_BUFFER | STORAGE_BUFFER | UNIFORM_BUFFER_DYNAMIC | STORAGE_BUFFER_DYNAMIC
    )
}

#[inline]
pub(crate) fn is_texel_buffer(descriptor_type: u32) -> bool {
    matches!(descriptor_type, UNIFORM_TEXEL_BUFFER | STORAGE_TEXEL_BUFFER)
}

#[cfg(test)]
mod tests {
    use ash::vk::DescriptorType as T;

    use super::*;

    #[test]
    fn descriptor_type_when_it_names_an_array_uses_only_that_one() {
        let arrays = |t: T| {
            let t = t.as_raw() as u32;
            (is_image(t), is_buffer(t), is_texel_buffer(t))
        };
        let image = [
            T::SAMPLER,
            T::COMBINED_IMAGE_SAMPLER,
            T::SAMPLED_IMAGE,
            T::STORAGE_IMAGE,
            T::INPUT_ATTACHMENT,
            T::SAMPLE_WEIGHT_IMAGE_QCOM,
            T::BLOCK_MATCH_IMAGE_QCOM,
        ];
        let buffer =
            [T::UNIFORM_BUFFER, T::STORAGE_BUFFER, T::UNIFORM_BUFFER_DYNAMIC, T::STORAGE_BUFFER_DYNAMIC];
        let texel = [T::UNIFORM_TEXEL_BUFFER, T::STORAGE_TEXEL_BUFFER];
        let none = [
            T::INLINE_UNIFORM_BLOCK,
            T::ACCELERATION_STRUCTURE_KHR,
            T::ACCELERATION_STRUCTURE_NV,
            T::MUTABLE_EXT,
        ];
        assert!(image.iter().all(|t| arrays(*t) == (true, false, false)));
        assert!(buffer.iter().all(|t| arrays(*t) == (false, true, false)));
        assert!(texel.iter().all(|t| arrays(*t) == (false, false, true)));
        assert!(none.iter().all(|t| arrays(*t) == (false, false, false)));
    }
}
