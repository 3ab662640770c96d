//! Host memory for objects: the application's `VkAllocationCallbacks`, or the global allocator.
//!
//! Dispatchable objects live in it. Of the others the driver keeps tables; where the application gave callbacks, the
//! entry of each such object is backed by a piece of the application's memory ([`Backing`]), so that callbacks
//! are called, and may refuse, as the specification says (chapter "Host Memory").

use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr::NonNull;

use ash::vk;
use vw_wire_protocol::generated::handles::HandleType;

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

    /// Whether an object's memory is the application's.
    pub(crate) fn is_given(&self) -> bool {
        self.callbacks.is_some()
    }

    /// Own callbacks, or those of the parent where none were given.
    pub(crate) fn or(self, parent: Self) -> Self {
        if self.callbacks.is_some() { self } else { parent }
    }

    /// Moves `value` to memory from this allocator, or hands it back when there is none.
    pub(crate) fn place<T>(&self, value: T, scope: vk::SystemAllocationScope) -> Result<NonNull<T>, T> {
        let layout = Layout::new::<T>();
        let memory = match &self.callbacks {
            // SAFETY: a valid callback, given a size that is not 0 and an alignment that is a power of two.
            Some(c) => unsafe { (c.allocate)(c.user_data, layout.size(), layout.align(), scope) }.cast::<T>(),
            // SAFETY: no object and no record is of size 0.
            None => unsafe { std::alloc::alloc(layout) }.cast::<T>(),
        };
        let Some(memory) = NonNull::new(memory) else { return Err(value) };
        // SAFETY: fresh memory of the right size and alignment.
        unsafe { memory.write(value) };
        Ok(memory)
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

/// The application's memory behind one non-dispatchable object. Given back by [`Backing::release`] alone: after the
/// application has left an object behind, its callbacks may be gone.
#[derive(Debug)]
pub(crate) struct Backing(NonNull<Record>);

/// What is needed to give the memory back.
#[derive(Debug)]
struct Record {
    allocator: HostAllocator,
}

// SAFETY: the record is owned, and holds what may be sent between threads.
unsafe impl Send for Backing {}

impl Backing {
    /// Memory for an object of type `ty`: none where the application gave no callbacks, an error where they refuse.
    pub(crate) fn new(allocator: HostAllocator, ty: HandleType) -> Result<Option<Self>, OutOfHostMemory> {
        if allocator.callbacks.is_none() {
            return Ok(None);
        }
        let scope = match ty {
            HandleType::PipelineCache => vk::SystemAllocationScope::CACHE,
            _ => vk::SystemAllocationScope::OBJECT,
        };
        let record = allocator.place(Record { allocator }, scope).map_err(|_| OutOfHostMemory)?;
        Ok(Some(Self(record)))
    }

    /// Gives the memory back.
    pub(crate) fn release(self) {
        // SAFETY: placed in `new` by the allocator that it holds, and owned.
        unsafe {
            let allocator = self.0.as_ref().allocator;
            allocator.remove(self.0);
        }
    }
}

/// `VK_ERROR_OUT_OF_HOST_MEMORY`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OutOfHostMemory;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static LIVE: Cell<i32> = const { Cell::new(0) };
    }

    /// Room for any object of the tests.
    const ROOM: Layout = Layout::new::<[u128; 8]>();

    unsafe extern "system" fn allocate(
        _: *mut c_void,
        size: usize,
        align: usize,
        _: vk::SystemAllocationScope,
    ) -> *mut c_void {
        LIVE.set(LIVE.get() + 1);
        assert!(size <= ROOM.size() && align <= ROOM.align());
        // SAFETY: not empty.
        unsafe { std::alloc::alloc(ROOM).cast() }
    }

    unsafe extern "system" fn free(_: *mut c_void, memory: *mut c_void) {
        LIVE.set(LIVE.get() - 1);
        // SAFETY: allocated above.
        unsafe { std::alloc::dealloc(memory.cast(), ROOM) };
    }

    unsafe extern "system" fn refuse(
        _: *mut c_void,
        _: usize,
        _: usize,
        _: vk::SystemAllocationScope,
    ) -> *mut c_void {
        std::ptr::null_mut()
    }

    fn allocator(
        allocation: unsafe extern "system" fn(
            *mut c_void,
            usize,
            usize,
            vk::SystemAllocationScope,
        ) -> *mut c_void,
    ) -> HostAllocator {
        let callbacks = vk::AllocationCallbacks {
            pfn_allocation: Some(allocation),
            pfn_free: Some(free),
            ..Default::default()
        };
        // SAFETY: valid callbacks.
        unsafe { HostAllocator::new(&raw const callbacks) }
    }

    #[test]
    fn object_when_callbacks_are_given_lives_in_their_memory() {
        let allocator = allocator(allocate);
        let object = allocator.place(7u64, vk::SystemAllocationScope::OBJECT).unwrap();
        assert_eq!(LIVE.get(), 1);
        // SAFETY: placed above by the same allocator.
        unsafe { allocator.remove(object) };
        assert_eq!(LIVE.get(), 0);
    }

    #[test]
    fn object_when_memory_is_refused_comes_back() {
        assert_eq!(allocator(refuse).place(7u64, vk::SystemAllocationScope::OBJECT), Err(7));
    }

    #[test]
    fn backing_when_callbacks_are_given_is_theirs_and_otherwise_none() {
        let buffer = HandleType::Buffer;
        assert!(Backing::new(HostAllocator::default(), buffer).unwrap().is_none());
        assert!(matches!(Backing::new(allocator(refuse), buffer), Err(OutOfHostMemory)));
        let backing = Backing::new(allocator(allocate), buffer).unwrap().unwrap();
        assert_eq!(LIVE.get(), 1);
        backing.release();
        assert_eq!(LIVE.get(), 0);
    }

    #[test]
    fn allocator_when_there_are_no_callbacks_is_the_parents() {
        assert!(HostAllocator::default().or(allocator(allocate)).callbacks.is_some());
        assert!(HostAllocator::default().or(HostAllocator::default()).callbacks.is_none());
    }
}
