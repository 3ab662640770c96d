//! Semaphores that `vkAcquireNextImageKHR` has signalled.
//!
//! An image is free when it is acquired, so that there is nothing to wait for: the semaphore is noted here, and the wait
//! for it is left out of the submission that makes it. Where waits have a companion in a chain, a submission of vw's own
//! signals the semaphore instead.

use std::collections::HashSet;
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ash::vk;
use ash::vk::Handle as _;

use crate::chain;
use crate::session::{Session, lock};
use crate::submission::Info;

/// Semaphores that are signalled in the guest and not on the host.
#[derive(Default)]
pub(crate) struct Owed {
    /// So that programs without windows take no lock.
    count: AtomicUsize,
    semaphores: Mutex<HashSet<u64>>,
}

impl Owed {
    /// Signals a binary semaphore.
    pub(crate) fn signal(&self, semaphore: u64) {
        let mut semaphores = lock(&self.semaphores);
        semaphores.insert(semaphore);
        self.count.store(semaphores.len(), Ordering::Release);
    }

    /// Takes the signal back: true if the semaphore was signalled here. For a wait, and for its end.
    pub(crate) fn take(&self, semaphore: u64) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut semaphores = lock(&self.semaphores);
        let found = semaphores.remove(&semaphore);
        self.count.store(semaphores.len(), Ordering::Release);
        found
    }

    /// Whether there is such a semaphore.
    pub(crate) fn has_any(&self) -> bool {
        self.count.load(Ordering::Acquire) != 0
    }
}

/// The infos of a submission without the waits that are over already.
pub(crate) struct Submissions<T> {
    /// The program's own, where nothing is left out.
    given: *const T,
    changed: Vec<T>,
    semaphores: Vec<Vec<vk::Semaphore>>,
    stages: Vec<Vec<vk::PipelineStageFlags>>,
    structures: Vec<Vec<vk::SemaphoreSubmitInfo<'static>>>,
}

/// Structures whose waits can be left out.
pub(crate) trait Waits: Info {
    /// Something in the chain goes along with the waits.
    ///
    /// # Safety
    /// The structure must be valid.
    unsafe fn tied(&self) -> bool;

    /// Leaves the waits of the given places alone, and the others out.
    ///
    /// # Safety
    /// The structure must be valid; what it points to afterwards belongs to `to`.
    unsafe fn keep(&mut self, places: &[usize], to: &mut Submissions<Self>);
}

impl<T: Waits> Submissions<T> {
    /// Takes `count` infos; `signal` submits a signal of these semaphores.
    ///
    /// # Safety
    /// `given` must point to `count` valid infos.
    pub(crate) unsafe fn new(
        session: &Session,
        given: *const T,
        count: u32,
        mut signal: impl FnMut(&[vk::Semaphore]),
    ) -> Self {
        let mut this = Self {
            given,
            changed: Vec::new(),
            semaphores: Vec::new(),
            stages: Vec::new(),
            structures: Vec::new(),
        };
        let owed = &session.objects.owed;
        if !owed.has_any() {
            return this;
        }
        for i in 0..count as usize {
            // SAFETY: the caller's promise.
            unsafe {
                let info = &*given.add(i);
                let waits: Vec<vk::Semaphore> = info.waits().collect();
                let over: Vec<bool> = waits.iter().map(|semaphore| owed.take(semaphore.as_raw())).collect();
                if !over.contains(&true) {
                    continue;
                }
                if info.tied() {
                    let over = waits.iter().zip(over).filter(|(_, over)| *over).map(|(wait, _)| *wait);
                    signal(&over.collect::<Vec<_>>());
                    continue;
                }
                if this.changed.is_empty() {
                    this.changed = (0..count as usize).map(|i| *given.add(i)).collect();
                }
                let places: Vec<usize> = (0..over.len()).filter(|place| !over[*place]).collect();
                let mut info = this.changed[i];
                info.keep(&places, &mut this);
                this.changed[i] = info;
            }
        }
        this
    }

    /// The infos, as many as were given.
    pub(crate) fn infos(&self) -> *const T {
        if self.changed.is_empty() { self.given } else { self.changed.as_ptr() }
    }

    /// Keeps the elements of an array in these places.
    ///
    /// # Safety
    /// The array must have them.
    unsafe fn chosen<E: Copy>(array: *const E, places: &[usize]) -> Vec<E> {
        // SAFETY: the caller's promise.
        places.iter().map(|place| unsafe { *array.add(*place) }).collect()
    }
}

/// Whether a chain has an array with an element for each wait.
///
/// # Safety
/// The chain must be valid.
unsafe fn tied(next: *const c_void) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let values = chain::find::<vk::TimelineSemaphoreSubmitInfo<'_>>(next).as_ref();
        let devices = chain::find::<vk::DeviceGroupSubmitInfo<'_>>(next).as_ref();
        values.is_some_and(|values| values.wait_semaphore_value_count > 0)
            || devices.is_some_and(|devices| devices.wait_semaphore_count > 0)
    }
}

impl Waits for vk::SubmitInfo<'_> {
    unsafe fn tied(&self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { tied(self.p_next) }
    }

    unsafe fn keep(&mut self, places: &[usize], to: &mut Submissions<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            to.semaphores.push(Submissions::<Self>::chosen(self.p_wait_semaphores, places));
            to.stages.push(Submissions::<Self>::chosen(self.p_wait_dst_stage_mask, places));
        }
        self.wait_semaphore_count = places.len() as u32;
        self.p_wait_semaphores = to.semaphores.last().map_or(std::ptr::null(), Vec::as_ptr);
        self.p_wait_dst_stage_mask = to.stages.last().map_or(std::ptr::null(), Vec::as_ptr);
    }
}

impl Waits for vk::SubmitInfo2<'_> {
    unsafe fn tied(&self) -> bool {
        false
    }

    unsafe fn keep(&mut self, places: &[usize], to: &mut Submissions<Self>) {
        // SAFETY: the caller's promise; the lifetime of what the structures point to is the program's business.
        unsafe {
            let infos = self.p_wait_semaphore_infos.cast::<vk::SemaphoreSubmitInfo<'static>>();
            to.structures.push(Submissions::<Self>::chosen(infos, places));
        }
        self.wait_semaphore_info_count = places.len() as u32;
        self.p_wait_semaphore_infos =
            to.structures.last().map_or(std::ptr::null(), |infos| infos.as_ptr().cast());
    }
}

impl Waits for vk::BindSparseInfo<'_> {
    unsafe fn tied(&self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { tied(self.p_next) }
    }

    unsafe fn keep(&mut self, places: &[usize], to: &mut Submissions<Self>) {
        // SAFETY: the caller's promise.
        to.semaphores.push(unsafe { Submissions::<Self>::chosen(self.p_wait_semaphores, places) });
        self.wait_semaphore_count = places.len() as u32;
        self.p_wait_semaphores = to.semaphores.last().map_or(std::ptr::null(), Vec::as_ptr);
    }
}
