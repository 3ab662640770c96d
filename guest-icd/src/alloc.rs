//! Host memory for dispatchable objects: the application's `VkAllocationCallbacks`, or the global allocator.

use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr::NonNull;

use ash::vk;

/// Where an object's memory comes from and goes back to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HostAllocator {
    callbacks: Option<Callbacks>,
}

#[derive(Debug, Clone, Copy)]
struct Callbacks {
    user_data: *mut c_void,
    allocate: unsafe extern "system" fn(*mut c_void, usize, usize, vk::SystemAllocationScope) -> *mut c_void,
    free: unsafe extern "system" fn(*mut c_void, *mut c_void),
}

// SAFETY: the specification lets an implementation call the callbacks from any thread that calls into the object
// they were given for; the user data is only passed back to them.
unsafe impl Send for HostAllocator {}
// SAFETY: as above.
unsafe impl Sync for HostAllocator {}

impl HostAllocator {
    /// Takes over the callbacks behind `callbacks`; null is the global allocator.
    ///
    /// # Safety
    /// `callbacks` must be null or valid; the functions must stay valid as long as the object lives.
    pub(crate) unsafe fn new(callbacks: *const vk::AllocationCallbacks<'_>) -> Self {
        // SAFETY: the caller's promise.
        let given = unsafe { callbacks.as_ref() }.and_then(|c| {
            Some(Callbacks { user_data: c.p_user_data, allocate: c.pfn_allocation?, free: c.pfn_free? })
        });
        Self { callbacks: given }
    }

    /// Own callbacks, or those of the parent where none were given.
    pub(crate) fn or(self, parent: Self) -> Self {
        if self.callbacks.is_some() { self } else { parent }
    }

    /// Moves `value` to memory from this allocator. `None`, and the value dropped, when there is no memory.
    pub(crate) fn place<T>(&self, value: T, scope: vk::SystemAllocationScope) -> Option<NonNull<T>> {
        let layout = Layout::new::<T>();
        let memory = match &self.callbacks {
            // SAFETY: a valid callback, given a size that is not 0 and an alignment that is a power of two.
            Some(c) => unsafe { (c.allocate)(c.user_data, layout.size(), layout.align(), scope) }.cast::<T>(),
            // SAFETY: dispatchable objects begin with a `Head`, so that the size is not 0.
            None => unsafe { std::alloc::alloc(layout) }.cast::<T>(),
        };
        let memory = NonNull::new(memory)?;
        // SAFETY: fresh memory of the right size and alignment.
        unsafe { memory.write(value) };
        Some(memory)
    }

    /// Drops the object and gives its memory back.
    ///
    /// # Safety
    /// `object` must come from [`HostAllocator::place`] of an allocator with the same callbacks and not be used
    /// again.
    pub(crate) unsafe fn remove<T>(&self, object: NonNull<T>) {
        // SAFETY: the object is live and the caller's last.
        unsafe { object.drop_in_place() };
        match &self.callbacks {
            // SAFETY: the memory came from the callbacks' allocation function.
            Some(c) => unsafe { (c.free)(c.user_data, object.as_ptr().cast()) },
            // SAFETY: the memory came from `alloc` with the same layout.
            None => unsafe { std::alloc::dealloc(object.as_ptr().cast(), Layout::new::<T>()) },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicIsize, Ordering};

    static LIVE: AtomicIsize = AtomicIsize::new(0);

    unsafe extern "system" fn allocate(
        _: *mut c_void,
        size: usize,
        align: usize,
        _: vk::SystemAllocationScope,
    ) -> *mut c_void {
        LIVE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: a test's layout, never empty.
        unsafe { std::alloc::alloc(Layout::from_size_align(size, align).unwrap()).cast() }
    }

    unsafe extern "system" fn free(_: *mut c_void, memory: *mut c_void) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the only object of the test is a `u64`.
        unsafe { std::alloc::dealloc(memory.cast(), Layout::new::<u64>()) };
    }

    unsafe extern "system" fn refuse(
        _: *mut c_void,
        _: usize,
        _: usize,
        _: vk::SystemAllocationScope,
    ) -> *mut c_void {
        std::ptr::null_mut()
    }

    #[test]
    fn object_when_callbacks_are_given_lives_in_their_memory() {
        let callbacks = vk::AllocationCallbacks {
            pfn_allocation: Some(allocate),
            pfn_free: Some(free),
            ..Default::default()
        };
        // SAFETY: valid callbacks.
        let allocator = unsafe { HostAllocator::new(&raw const callbacks) };
        let object = allocator.place(7u64, vk::SystemAllocationScope::OBJECT).unwrap();
        assert_eq!(LIVE.load(Ordering::Relaxed), 1);
        // SAFETY: placed above by the same allocator.
        unsafe { allocator.remove(object) };
        assert_eq!(LIVE.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn object_when_memory_is_refused_is_none() {
        let callbacks = vk::AllocationCallbacks {
            pfn_allocation: Some(refuse),
            pfn_free: Some(free),
            ..Default::default()
        };
        // SAFETY: valid callbacks.
        let allocator = unsafe { HostAllocator::new(&raw const callbacks) };
        assert!(allocator.place(7u64, vk::SystemAllocationScope::OBJECT).is_none());
    }
}
