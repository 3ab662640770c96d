//! Descriptor updates, many in one record: [`op::UPDATE_DESCRIPTOR_SETS`](crate::record::op::UPDATE_DESCRIPTOR_SETS).
//!
//! Behind the device's id stands one write after the other up to the record's end, everything aligned to 8 bytes: a
//! [`Header`], then its descriptors, laid out as their structures are in memory with ids for handles. Copies stand among
//! them, in the order of their calls: a [`Copy`] each.

use crate::rules::descriptor;

/// What stands before the descriptors of a write.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Id of the descriptor set.
    pub set: u64,
    /// Its binding.
    pub binding: u32,
    /// First element of the binding.
    pub element: u32,
    /// Number of descriptors.
    pub count: u32,
    /// `VkDescriptorType`, of which [`Descriptors::of`] knows the descriptors, or [`COPY`].
    pub ty: u32,
}

impl Header {
    /// Size in words of 8 bytes.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// As it stands on the wire.
    #[inline(always)]
    pub fn to_words(self) -> [u64; Self::WORDS] {
        [self.set, pair(self.binding, self.element), pair(self.count, self.ty)]
    }

    /// From the wire.
    #[inline(always)]
    pub const fn from_words([set, place, kind]: [u64; Self::WORDS]) -> Self {
        Self {
            set,
            binding: place as u32,
            element: (place >> 32) as u32,
            count: kind as u32,
            ty: (kind >> 32) as u32,
        }
    }
}

/// In the place of a type: what follows is the rest of a [`Copy`]. No type has this value.
pub const COPY: u32 = u32::MAX;

/// `VkCopyDescriptorSet`: where from, as a [`Header`] of type [`COPY`], then where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// Id of the set that is read.
    pub source: u64,
    /// Its binding.
    pub source_binding: u32,
    /// First element of the binding.
    pub source_element: u32,
    /// Number of descriptors.
    pub count: u32,
    /// Id of the set that is written.
    pub set: u64,
    /// Its binding.
    pub binding: u32,
    /// First element of the binding.
    pub element: u32,
}

impl Copy {
    /// Size in words of 8 bytes.
    pub const WORDS: usize = Header::WORDS + Self::TARGET_WORDS;

    /// Size of what follows the header, in words of 8 bytes.
    pub const TARGET_WORDS: usize = 2;

    /// As it stands on the wire.
    #[inline(always)]
    pub fn to_words(self) -> [u64; Self::WORDS] {
        let Self { source, source_binding: binding, source_element: element, count, .. } = self;
        let [a, b, c] = Header { set: source, binding, element, count, ty: COPY }.to_words();
        [a, b, c, self.set, pair(self.binding, self.element)]
    }

    /// From the wire: a header of type [`COPY`] and what follows it.
    #[inline(always)]
    pub const fn from_words(from: Header, [set, place]: [u64; Self::TARGET_WORDS]) -> Self {
        Self {
            source: from.set,
            source_binding: from.binding,
            source_element: from.element,
            count: from.count,
            set,
            binding: place as u32,
            element: (place >> 32) as u32,
        }
    }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// What the descriptors of a write are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptors {
    /// `VkDescriptorImageInfo`: `u64` sampler, `u64` image view, `u32` layout, 4 bytes of no meaning.
    Images,
    /// `VkDescriptorBufferInfo`: `u64` buffer, `u64` offset, `u64` range.
    Buffers,
    /// `u64` buffer view.
    BufferViews,
}

impl Descriptors {
    /// Those of a type; none where they stand in a chain.
    #[inline(always)]
    pub fn of(ty: u32) -> Option<Self> {
        if descriptor::is_buffer(ty) {
            Some(Self::Buffers)
        } else if descriptor::is_image(ty) {
            Some(Self::Images)
        } else if descriptor::is_texel_buffer(ty) {
            Some(Self::BufferViews)
        } else {
            None
        }
    }

    /// Size of one in words of 8 bytes.
    #[inline(always)]
    pub const fn words(self) -> usize {
        match self {
            Self::Images | Self::Buffers => 3,
            Self::BufferViews => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_when_written_and_read_is_the_same() {
        let header = Header { set: 1 << 40, binding: 2, element: 3, count: u32::MAX, ty: 1_000_440_000 };
        assert_eq!(Header::from_words(header.to_words()), header);
        assert_eq!(Descriptors::of(header.ty), Some(Descriptors::Images));
        assert_eq!(Descriptors::of(1_000_138_000), None);
        assert_eq!(Descriptors::of(COPY), None);
    }

    #[test]
    fn copy_when_written_and_read_is_the_same() {
        let copy = Copy {
            source: 1 << 40,
            source_binding: 2,
            source_element: 3,
            count: 4,
            set: 5,
            binding: 6,
            element: u32::MAX,
        };
        let [a, b, c, d, e] = copy.to_words();
        let header = Header::from_words([a, b, c]);
        assert_eq!(header.ty, COPY);
        assert_eq!(Copy::from_words(header, [d, e]), copy);
    }
}
