//! `vkGetDescriptorEXT`: descriptors as bytes, for buffers of them. What the host has said is remembered.

use std::ffi::c_void;
use std::sync::Mutex;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::generated::commands;

use crate::dispatch;
use crate::forward;
use crate::session::lock;

/// Descriptors that are remembered, each in the place that its question hashes to: a power of two.
const PLACES: usize = 1024;

/// Largest descriptor that is remembered, in bytes.
const MOST: u64 = 256;

/// Everything that a descriptor depends on: ids of objects are never used twice, and of buffers only addresses count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    device: u64,
    ty: i32,
    size: u64,
    /// A null pointer, for a null descriptor.
    none: bool,
    words: [u64; 3],
}

impl Question {
    /// None where a chain says more.
    ///
    /// # Safety
    /// `info` must be valid.
    #[inline]
    unsafe fn new(device: u64, info: &vk::DescriptorGetInfoEXT<'_>, size: u64) -> Option<Self> {
        use vk::DescriptorType as T;
        // SAFETY: the type says which member of the union counts; what it points to is the caller's promise.
        let (none, words) = unsafe {
            match info.ty {
                T::SAMPLER => match info.data.p_sampler.as_ref() {
                    Some(sampler) => (false, [sampler.as_raw(), 0, 0]),
                    None => (true, [0; 3]),
                },
                T::COMBINED_IMAGE_SAMPLER | T::SAMPLED_IMAGE | T::STORAGE_IMAGE | T::INPUT_ATTACHMENT => {
                    match info.data.p_sampled_image.as_ref() {
                        Some(image) => {
                            let layout = u64::from(image.image_layout.as_raw() as u32);
                            (false, [image.sampler.as_raw(), image.image_view.as_raw(), layout])
                        }
                        None => (true, [0; 3]),
                    }
                }
                T::UNIFORM_TEXEL_BUFFER | T::STORAGE_TEXEL_BUFFER | T::UNIFORM_BUFFER | T::STORAGE_BUFFER => {
                    match info.data.p_uniform_buffer.as_ref() {
                        Some(buffer) if buffer.p_next.is_null() => {
                            let format = u64::from(buffer.format.as_raw() as u32);
                            (false, [buffer.address, buffer.range, format])
                        }
                        Some(_) => return None,
                        None => (true, [0; 3]),
                    }
                }
                T::ACCELERATION_STRUCTURE_KHR => (false, [info.data.acceleration_structure, 0, 0]),
                _ => return None,
            }
        };
        let plain = info.p_next.is_null() && size <= MOST;
        plain.then_some(Self { device, ty: info.ty.as_raw(), size, none, words })
    }

    fn place(&self) -> usize {
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        let [a, b, c] = self.words;
        let all = [a, b, c, self.ty as u64, self.size];
        let mixed = all.iter().fold(self.device, |sum, word| (sum.rotate_left(23) ^ word).wrapping_mul(ODD));
        (mixed >> 32) as usize % PLACES
    }
}

/// What was asked, and the descriptor.
type Answer = (Question, Box<[u8]>);

/// The descriptors of one session that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    /// Empty until the first.
    places: Mutex<Vec<Option<Answer>>>,
}

impl Descriptors {
    /// Whether the answer is known; then it is written to `to`.
    ///
    /// # Safety
    /// There is room for as many bytes as the question says.
    unsafe fn recall(&self, question: &Question, to: *mut u8) -> bool {
        let places = lock(&self.places);
        match places.get(question.place()) {
            Some(Some((known, bytes))) if known == question => {
                // SAFETY: the caller's promise; the answer has the size that was asked for.
                unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                true
            }
            _ => false,
        }
    }

    fn remember(&self, question: Question, bytes: &[u8]) {
        let mut places = lock(&self.places);
        if places.is_empty() {
            places.resize_with(PLACES, || None);
        }
        places[question.place()] = Some((question, bytes.into()));
    }
}

/// `vkGetDescriptorEXT`
pub(crate) unsafe extern "system" fn vkGetDescriptorEXT(
    device: *mut c_void,
    info: *const vk::DescriptorGetInfoEXT<'_>,
    size: u64,
    descriptor: *mut c_void,
) {
    let args = [device as u64, info as u64, size, descriptor as u64];
    // SAFETY: the application's valid usage of this command: room for `size` bytes.
    unsafe {
        let session = dispatch::session(device).filter(|session| session.perf.memo);
        let Some(session) = session else {
            forward::call(device, &commands::VK_GET_DESCRIPTOR_EXT, &args);
            return;
        };
        let known = &session.objects.descriptors;
        let question = Question::new(dispatch::id(device), &*info, size);
        if let Some(question) = &question
            && known.recall(question, descriptor.cast())
        {
            return;
        }
        forward::call(device, &commands::VK_GET_DESCRIPTOR_EXT, &args);
        if let Some(question) = question
            && !session.broken()
        {
            known.remember(question, std::slice::from_raw_parts(descriptor.cast(), size as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(id: &vk::Sampler) -> vk::DescriptorGetInfoEXT<'_> {
        vk::DescriptorGetInfoEXT {
            ty: vk::DescriptorType::SAMPLER,
            data: vk::DescriptorDataEXT { p_sampler: id },
            ..Default::default()
        }
    }

    #[test]
    fn descriptor_when_remembered_answers_the_same_question_alone() {
        let known = Descriptors::default();
        let (one, two) = (vk::Sampler::from_raw(1), vk::Sampler::from_raw(2));
        // SAFETY: the infos point to samplers; there is room for the answers.
        unsafe {
            let question =
                |device, id, size| Question::new(device, &sampler(id), size).unwrap_or_else(|| panic!());
            let mut found = [0u8; 4];
            assert!(!known.recall(&question(5, &one, 4), found.as_mut_ptr()));
            known.remember(question(5, &one, 4), &[1, 2, 3, 4]);
            assert!(known.recall(&question(5, &one, 4), found.as_mut_ptr()));
            assert_eq!(found, [1, 2, 3, 4]);
            for other in [question(5, &two, 4), question(6, &one, 4), question(5, &one, 3)] {
                assert!(!known.recall(&other, found.as_mut_ptr()));
            }
            let null = vk::DescriptorGetInfoEXT {
                data: vk::DescriptorDataEXT { p_sampler: std::ptr::null() },
                ..sampler(&one)
            };
            assert_ne!(Question::new(5, &null, 4), Question::new(5, &sampler(&vk::Sampler::null()), 4));
            assert_eq!(Question::new(5, &sampler(&one), MOST + 1), None);
        }
    }
}
