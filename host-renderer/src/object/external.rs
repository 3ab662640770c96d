//! Memory that others see too: which handle types guests are offered, in terms of what the driver imports.
//!
//! To the driver all such memory is pages that it imports by pointer. Whether it can is asked of it about host pointers,
//! whatever handle the guest has for the pages.

use ash::vk;

use vk::ExternalMemoryFeatureFlags as Features;
use vk::ExternalMemoryHandleTypeFlags as HandleTypes;

use crate::gpu::import::HANDLE_TYPE;

/// Handles of sealed files of pages.
const FILE: HandleTypes = HandleTypes::OPAQUE_FD;

/// The handle types of a session's guest.
#[derive(Debug, Clone, Copy)]
pub struct Handles {
    /// Descriptors pass on the guest's socket.
    pub descriptors: bool,
    /// The host sees the guest's pages, so that those of a program can be imported.
    pub pages: bool,
}

/// A question about one handle type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// As it is: it is about no handle, or about host pointers.
    Plain,
    /// About files, asked about host pointers instead.
    Files,
    /// About handles that there are none of.
    None,
}

impl Handles {
    /// Whether a guest may have handles of all these types.
    pub fn has(self, types: HandleTypes) -> bool {
        let pages = if self.pages { HANDLE_TYPE } else { HandleTypes::empty() };
        let files = if self.descriptors { FILE } else { HandleTypes::empty() };
        (pages | files).contains(types)
    }

    /// Makes a question about the handle type one that the driver can answer.
    pub fn ask(self, handle_type: &mut HandleTypes) -> Question {
        match *handle_type {
            types if types.is_empty() || self.pages && types == HANDLE_TYPE => Question::Plain,
            FILE if self.descriptors => {
                *handle_type = HANDLE_TYPE;
                Question::Files
            }
            _ => Question::None,
        }
    }
}

impl Question {
    /// Makes the driver's answer one to the question.
    pub fn answered(self, properties: &mut vk::ExternalMemoryProperties) {
        let importable = properties.external_memory_features.contains(Features::IMPORTABLE);
        match self {
            Self::Plain => {}
            Self::Files if importable => {
                properties.external_memory_features |= Features::EXPORTABLE;
                properties.export_from_imported_handle_types = FILE;
                properties.compatible_handle_types = FILE;
            }
            Self::Files | Self::None => *properties = vk::ExternalMemoryProperties::default(),
        }
    }
}

/// A structure of a decoded chain.
///
/// # Safety
/// `next` must be null or a valid chain that may be written and lives as long as is used.
pub unsafe fn find<'a, T: vk::TaggedStructure + 'a>(next: *const std::ffi::c_void) -> Option<&'a mut T> {
    let mut link = next.cast_mut().cast::<vk::BaseOutStructure<'_>>();
    // SAFETY: every link of a valid chain begins with `sType` and `pNext`, and is of the type that it names.
    unsafe {
        while !link.is_null() {
            if (*link).s_type == T::STRUCTURE_TYPE {
                return link.cast::<T>().as_mut();
            }
            link = (*link).p_next;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_when_about_files_is_asked_about_host_pointers_and_answered_about_files() {
        let handles = Handles { descriptors: true, pages: true };
        let mut asked = FILE;
        let question = handles.ask(&mut asked);
        assert!(question == Question::Files && asked == HANDLE_TYPE);
        let mut answer = vk::ExternalMemoryProperties {
            external_memory_features: Features::IMPORTABLE | Features::DEDICATED_ONLY,
            compatible_handle_types: HANDLE_TYPE,
            ..Default::default()
        };
        question.answered(&mut answer);
        let features = Features::IMPORTABLE | Features::EXPORTABLE | Features::DEDICATED_ONLY;
        assert!(answer.external_memory_features == features && answer.compatible_handle_types == FILE);
        answer.external_memory_features = Features::empty();
        question.answered(&mut answer);
        assert!(answer.compatible_handle_types.is_empty());
    }

    #[test]
    fn handles_when_descriptors_do_not_pass_are_host_pointers_alone() {
        for (descriptors, question) in [(false, Question::None), (true, Question::Files)] {
            let handles = Handles { descriptors, pages: true };
            assert_eq!(handles.ask(&mut FILE.clone()), question);
            assert_eq!(handles.has(FILE | HANDLE_TYPE), descriptors);
            assert!(handles.has(HANDLE_TYPE) && !handles.has(HandleTypes::DMA_BUF_EXT));
            assert_eq!(handles.ask(&mut HandleTypes::empty()), Question::Plain);
            assert_eq!(handles.ask(&mut HandleTypes::OPAQUE_WIN32.clone()), Question::None);
        }
    }
}
