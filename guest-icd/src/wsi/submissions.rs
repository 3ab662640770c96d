//! The structures of a submission, without the semaphores that are the guest's own business: see `owed.rs`.

use std::ffi::c_void;

use ash::vk;
use ash::vk::Handle as _;

use super::owed::Signalled;
use crate::chain;
use crate::completion::Point;
use crate::queue::Queue;
use crate::session::Session;
use crate::submission::Info;

/// The infos of a submission without the waits that are over already and the signals that are nobody's but the guest's.
pub(crate) struct Submissions<T> {
    /// The program's own, where nothing is left out.
    given: *const T,
    changed: Vec<T>,
    semaphores: Vec<Vec<vk::Semaphore>>,
    stages: Vec<Vec<vk::PipelineStageFlags>>,
    structures: Vec<Vec<vk::SemaphoreSubmitInfo<'static>>>,
    /// Semaphores whose signals are left out.
    unsignalled: Vec<vk::Semaphore>,
}

/// Which of two lists have companions in a chain, so that nothing can be left out.
#[derive(Default)]
pub(crate) struct Tied {
    waits: bool,
    signals: bool,
}

/// Structures whose semaphores can be left out.
pub(crate) trait Lists: Info {
    /// What in the chain goes along with the lists.
    ///
    /// # Safety
    /// The structure must be valid.
    unsafe fn tied(&self) -> Tied;

    /// Leaves the waits of the given places alone, and the others out.
    ///
    /// # Safety
    /// The structure must be valid; what it points to afterwards belongs to `to`.
    unsafe fn keep_waits(&mut self, places: &[usize], to: &mut Submissions<Self>);

    /// The same with the signals.
    ///
    /// # Safety
    /// As [`keep_waits`](Self::keep_waits).
    unsafe fn keep_signals(&mut self, places: &[usize], to: &mut Submissions<Self>);
}

impl<T: Lists> Submissions<T> {
    /// Takes `count` infos for `queue`.
    ///
    /// # Safety
    /// `given` must point to `count` valid infos.
    pub(crate) unsafe fn new(session: &Session, queue: &Queue, given: *const T, count: u32) -> Self {
        let mut this = Self {
            given,
            changed: Vec::new(),
            semaphores: Vec::new(),
            stages: Vec::new(),
            structures: Vec::new(),
            unsignalled: Vec::new(),
        };
        for i in 0..count as usize {
            // SAFETY: the caller's promise.
            unsafe {
                this.leave_out_waits(session, queue, i, count as usize);
                // What any but the last one signals is reached before the end.
                if i + 1 == count as usize {
                    this.leave_out_signals(session, i, count as usize);
                }
            }
        }
        this
    }

    /// # Safety
    /// As [`Submissions::new`].
    unsafe fn leave_out_waits(&mut self, session: &Session, queue: &Queue, i: usize, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let info = &*self.given.add(i);
            let waits: Vec<vk::Semaphore> = info.waits().collect();
            let over: Vec<bool> = waits.iter().map(|wait| is_over(session, *wait)).collect();
            if !over.contains(&true) {
                return;
            }
            if info.tied().waits {
                let over = waits.iter().zip(over).filter(|(_, over)| *over).map(|(wait, _)| *wait);
                return queue.signal(session, &over.collect::<Vec<_>>());
            }
            let places: Vec<usize> = (0..over.len()).filter(|place| !over[*place]).collect();
            let mut info = self.own(i, count);
            info.keep_waits(&places, self);
            self.changed[i] = info;
        }
    }

    /// # Safety
    /// As [`Submissions::new`].
    unsafe fn leave_out_signals(&mut self, session: &Session, i: usize, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let info = &*self.given.add(i);
            let signals: Vec<vk::Semaphore> = info.signals().map(|(semaphore, _)| semaphore).collect();
            let is_own = |semaphore: vk::Semaphore| {
                session.objects.owed.is_presented(semaphore.as_raw()) && is_plain(session, semaphore)
            };
            let (own, others): (Vec<usize>, Vec<usize>) =
                (0..signals.len()).partition(|place| is_own(signals[*place]));
            if own.is_empty() || info.tied().signals {
                return;
            }
            self.unsignalled = own.into_iter().map(|place| signals[place]).collect();
            let mut info = self.own(i, count);
            info.keep_signals(&others, self);
            self.changed[i] = info;
        }
    }

    /// An info, of which there is a copy from now on.
    ///
    /// # Safety
    /// As [`Submissions::new`].
    unsafe fn own(&mut self, i: usize, count: usize) -> T {
        if self.changed.is_empty() {
            // SAFETY: the caller's promise.
            self.changed = (0..count).map(|i| unsafe { *self.given.add(i) }).collect();
        }
        self.changed[i]
    }

    /// The infos, as many as were given.
    pub(crate) fn infos(&self) -> *const T {
        if self.changed.is_empty() { self.given } else { self.changed.as_ptr() }
    }

    /// Whether the guest has to know when the submission is finished.
    pub(crate) fn leave_out_signal(&self) -> bool {
        !self.unsignalled.is_empty()
    }

    /// What is left out is signalled when this is finished, on this queue.
    pub(crate) fn signal_at(&self, session: &Session, queue: &Queue, point: Point) {
        let at = Signalled::At(std::ptr::from_ref(queue) as usize, point);
        self.unsignalled.iter().for_each(|semaphore| session.objects.owed.signal(semaphore.as_raw(), at));
    }

    /// Keeps the elements of an array in these places.
    ///
    /// # Safety
    /// The array must have them.
    unsafe fn chosen<E: Copy>(array: *const E, places: &[usize]) -> Vec<E> {
        // SAFETY: the caller's promise.
        places.iter().map(|place| unsafe { *array.add(*place) }).collect()
    }

    /// The same, kept for as long as this lives.
    ///
    /// # Safety
    /// As [`chosen`](Self::chosen).
    unsafe fn choose(&mut self, array: *const vk::Semaphore, places: &[usize]) -> *const vk::Semaphore {
        // SAFETY: the caller's promise.
        self.semaphores.push(unsafe { Self::chosen(array, places) });
        self.semaphores.last().map_or(std::ptr::null(), Vec::as_ptr)
    }

    /// The same of structures.
    ///
    /// # Safety
    /// As [`chosen`](Self::chosen); what the structures point to is the program's business.
    unsafe fn choose_structures<'a>(
        &mut self,
        array: *const vk::SemaphoreSubmitInfo<'a>,
        places: &[usize],
    ) -> *const vk::SemaphoreSubmitInfo<'a> {
        // SAFETY: the caller's promise.
        self.structures.push(unsafe { Self::chosen(array.cast(), places) });
        self.structures.last().map_or(std::ptr::null(), |infos| infos.as_ptr().cast())
    }
}

/// Whether a wait for the semaphore is over already. A submission does wait for what others signal: it is signalled then.
///
/// # Safety
/// The queues of the session's device must be live.
unsafe fn is_over(session: &Session, semaphore: vk::Semaphore) -> bool {
    match session.objects.owed.take(semaphore.as_raw()) {
        Some(Signalled::Now) => true,
        Some(Signalled::At(queue, _)) => {
            // SAFETY: the caller's promise: it was submitted to.
            unsafe { make_good(session, queue, semaphore) };
            false
        }
        None => false,
    }
}

/// Signals on the host, after what was submitted to the queue with this address, what somebody else than a presentation of
/// that queue waits for.
///
/// # Safety
/// It must be a live queue.
pub(super) unsafe fn make_good(session: &Session, queue: usize, semaphore: vk::Semaphore) {
    session.objects.owed.share(semaphore.as_raw());
    // SAFETY: the caller's promise.
    unsafe { (*(queue as *const Queue)).signal(session, &[semaphore]) };
}

/// Whether a semaphore is binary and has no payload.
pub(super) fn is_plain(session: &Session, semaphore: vk::Semaphore) -> bool {
    session.objects.semaphores.with(semaphore.as_raw(), |_| ()).is_none()
}

/// Whether a chain has arrays with an element for each semaphore.
///
/// # Safety
/// The chain must be valid.
unsafe fn tied(next: *const c_void) -> Tied {
    // SAFETY: the caller's promise.
    unsafe {
        let values = chain::find::<vk::TimelineSemaphoreSubmitInfo<'_>>(next).as_ref();
        let devices = chain::find::<vk::DeviceGroupSubmitInfo<'_>>(next).as_ref();
        Tied {
            waits: values.is_some_and(|values| values.wait_semaphore_value_count > 0)
                || devices.is_some_and(|devices| devices.wait_semaphore_count > 0),
            signals: values.is_some_and(|values| values.signal_semaphore_value_count > 0)
                || devices.is_some_and(|devices| devices.signal_semaphore_count > 0),
        }
    }
}

impl Lists for vk::SubmitInfo<'_> {
    unsafe fn tied(&self) -> Tied {
        // SAFETY: the caller's promise.
        unsafe { tied(self.p_next) }
    }

    unsafe fn keep_waits(&mut self, places: &[usize], to: &mut Submissions<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            self.p_wait_semaphores = to.choose(self.p_wait_semaphores, places);
            to.stages.push(Submissions::<Self>::chosen(self.p_wait_dst_stage_mask, places));
        }
        self.wait_semaphore_count = places.len() as u32;
        self.p_wait_dst_stage_mask = to.stages.last().map_or(std::ptr::null(), Vec::as_ptr);
    }

    unsafe fn keep_signals(&mut self, places: &[usize], to: &mut Submissions<Self>) {
        // SAFETY: the caller's promise.
        self.p_signal_semaphores = unsafe { to.choose(self.p_signal_semaphores, places) };
        self.signal_semaphore_count = places.len() as u32;
    }
}

impl Lists for vk::SubmitInfo2<'_> {
    unsafe fn tied(&self) -> Tied {
        Tied::default()
    }

    unsafe fn keep_waits(&mut self, places: &[usize], to: &mut Submissions<Self>) {
        // SAFETY: the caller's promise.
        self.p_wait_semaphore_infos = unsafe { to.choose_structures(self.p_wait_semaphore_infos, places) };
        self.wait_semaphore_info_count = places.len() as u32;
    }

    unsafe fn keep_signals(&mut self, places: &[usize], to: &mut Submissions<Self>) {
        // SAFETY: the caller's promise.
        self.p_signal_semaphore_infos =
            unsafe { to.choose_structures(self.p_signal_semaphore_infos, places) };
        self.signal_semaphore_info_count = places.len() as u32;
    }
}

impl Lists for vk::BindSparseInfo<'_> {
    unsafe fn tied(&self) -> Tied {
        // SAFETY: the caller's promise.
        unsafe { tied(self.p_next) }
    }

    unsafe fn keep_waits(&mut self, places: &[usize], to: &mut Submissions<Self>) {
        // SAFETY: the caller's promise.
        self.p_wait_semaphores = unsafe { to.choose(self.p_wait_semaphores, places) };
        self.wait_semaphore_count = places.len() as u32;
    }

    unsafe fn keep_signals(&mut self, places: &[usize], to: &mut Submissions<Self>) {
        // SAFETY: the caller's promise.
        self.p_signal_semaphores = unsafe { to.choose(self.p_signal_semaphores, places) };
        self.signal_semaphore_count = places.len() as u32;
    }
}
