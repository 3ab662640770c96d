//! `VkDescriptorPool`: what is left in it is counted here, so that an allocation that fits need not be waited for.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::alloc::HostAllocator;
use crate::descriptor_set_layout::SetLayout;
use crate::device;
use crate::dispatch;
use crate::forward;
use crate::session::{Session, lock};

/// Flags of `VK_NV_descriptor_pool_overallocation`: the pool's size is only a hint.
const OVERALLOCATION: vk::DescriptorPoolCreateFlags = vk::DescriptorPoolCreateFlags::from_raw(0x18);

/// Types of core 1.0, `VK_DESCRIPTOR_TYPE_SAMPLER` to `VK_DESCRIPTOR_TYPE_INPUT_ATTACHMENT`.
const COUNTED: std::ops::RangeInclusive<i32> = 0..=10;

/// Guest-side state of a pool.
#[derive(Debug)]
pub(crate) struct DescriptorPool {
    state: Mutex<State>,
    /// The size is no limit.
    unlimited: bool,
    /// For the pool's sets.
    pub(crate) allocator: HostAllocator,
}

#[derive(Debug, Default)]
struct State {
    /// Size of the pool: sets, and descriptors of each type.
    max_sets: usize,
    sizes: HashMap<i32, u64>,
    /// Descriptors of each type in use.
    used: HashMap<i32, u64>,
    /// The sets in use, with what they take.
    sets: HashMap<u64, Taken>,
    /// Sets were freed one by one: the pool may be fragmented.
    holes: bool,
}

/// What one set takes from its pool.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// The set's layout.
    pub(crate) layout: Arc<SetLayout>,
    /// Descriptors of the variable binding.
    pub(crate) variable: u32,
}

impl Taken {
    fn counts(&self) -> impl Iterator<Item = (i32, u64)> {
        let variable = self.layout.variable.map(|kind| (kind, self.variable));
        self.layout.counts.iter().copied().chain(variable).map(|(kind, count)| (kind, count.into()))
    }
}

impl DescriptorPool {
    /// From what the program said.
    ///
    /// # Safety
    /// `info` must be valid.
    unsafe fn new(info: &vk::DescriptorPoolCreateInfo<'_>, allocator: HostAllocator) -> Self {
        let mut state = State { max_sets: info.max_sets as usize, ..State::default() };
        for i in 0..info.pool_size_count as usize {
            // SAFETY: the caller's promise.
            let size = unsafe { &*info.p_pool_sizes.add(i) };
            *state.sizes.entry(size.ty.as_raw()).or_default() += u64::from(size.descriptor_count);
        }
        Self { state: Mutex::new(state), unlimited: info.flags.intersects(OVERALLOCATION), allocator }
    }

    /// Counts the sets in. True when they certainly fit: within what the program asked for, in a pool without holes, and
    /// of types that are counted in descriptors.
    pub(crate) fn take(&self, sets: &[Taken]) -> bool {
        let mut state = lock(&self.state);
        let mut sure = !self.unlimited && !state.holes && state.sets.len() + sets.len() <= state.max_sets;
        for (kind, count) in sets.iter().flat_map(Taken::counts) {
            let size = state.sizes.get(&kind).copied().unwrap_or(0);
            let used = state.used.entry(kind).or_default();
            *used += count;
            sure &= *used <= size && COUNTED.contains(&kind);
        }
        sure
    }

    /// Undoes [`DescriptorPool::take`] for sets that were not made.
    pub(crate) fn untake(&self, sets: &[Taken]) {
        lock(&self.state).subtract(sets.iter());
    }

    /// Names the sets that were counted in.
    pub(crate) fn name(&self, named: impl Iterator<Item = (u64, Taken)>) {
        lock(&self.state).sets.extend(named);
    }

    /// Takes a set out; false when it is not of this pool.
    pub(crate) fn free(&self, set: u64) -> bool {
        let mut state = lock(&self.state);
        let taken = state.sets.remove(&set);
        state.holes = true;
        state.subtract(taken.iter());
        taken.is_some()
    }

    /// Takes all sets out.
    fn reset(&self) -> impl Iterator<Item = u64> {
        let mut state = lock(&self.state);
        state.used.clear();
        state.holes = false;
        std::mem::take(&mut state.sets).into_keys()
    }
}

impl State {
    fn subtract<'a>(&mut self, sets: impl Iterator<Item = &'a Taken>) {
        for (kind, count) in sets.flat_map(Taken::counts) {
            if let Some(used) = self.used.get_mut(&kind) {
                *used = used.saturating_sub(count);
            }
        }
    }
}

fn free_sets(session: &Session, pool: &DescriptorPool) {
    for set in pool.reset() {
        session.free_id(HandleType::DescriptorSet, set);
    }
}

/// `vkCreateDescriptorPool`
pub(crate) unsafe extern "system" fn vkCreateDescriptorPool(
    device: *mut c_void,
    info: *const vk::DescriptorPoolCreateInfo<'_>,
    callbacks: *const c_void,
    pool: *mut u64,
) -> i32 {
    let args = [device as u64, info as u64, callbacks as u64, pool as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let cmd = &commands::VK_CREATE_DESCRIPTOR_POOL;
        let result = forward::create(device, cmd, &args, HandleType::DescriptorPool, callbacks);
        if result == 0
            && let Some(session) = dispatch::session(device)
        {
            let state = DescriptorPool::new(&*info, device::allocator(device, callbacks));
            session.objects.descriptor_pools.insert(*pool, Arc::new(state));
        }
        result
    }
}

/// `vkDestroyDescriptorPool`
pub(crate) unsafe extern "system" fn vkDestroyDescriptorPool(
    device: *mut c_void,
    pool: u64,
    callbacks: *const c_void,
) {
    let args = [device as u64, pool, callbacks as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(session) = dispatch::session(device) else { return };
        let state = session.objects.descriptor_pools.remove(pool);
        forward::destroy(
            device,
            &commands::VK_DESTROY_DESCRIPTOR_POOL,
            &args,
            pool,
            HandleType::DescriptorPool,
        );
        if let Some(state) = state {
            free_sets(session, &state);
        }
    }
}

/// `vkResetDescriptorPool`
pub(crate) unsafe extern "system" fn vkResetDescriptorPool(
    device: *mut c_void,
    pool: u64,
    flags: u32,
) -> i32 {
    let args = [device as u64, pool, u64::from(flags)];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let result = forward::send(device, &commands::VK_RESET_DESCRIPTOR_POOL, &args);
        if let Some(session) = dispatch::session(device)
            && let Some(state) = session.objects.descriptor_pools.get(pool)
        {
            free_sets(session, &state);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: i32 = vk::DescriptorType::UNIFORM_BUFFER.as_raw();
    const IMAGE: i32 = vk::DescriptorType::SAMPLED_IMAGE.as_raw();

    fn pool(max_sets: u32, flags: vk::DescriptorPoolCreateFlags) -> DescriptorPool {
        let size = |ty, descriptor_count| vk::DescriptorPoolSize { ty, descriptor_count };
        let sizes = [size(vk::DescriptorType::UNIFORM_BUFFER, 4), size(vk::DescriptorType::SAMPLED_IMAGE, 2)];
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(max_sets).pool_sizes(&sizes).flags(flags);
        // SAFETY: a valid structure.
        unsafe { DescriptorPool::new(&info, HostAllocator::default()) }
    }

    fn taken(buffers: u32, images: u32) -> Taken {
        let layout = SetLayout { counts: vec![(BUFFER, buffers)], variable: Some(IMAGE) };
        Taken { layout: Arc::new(layout), variable: images }
    }

    #[test]
    fn allocation_when_descriptors_run_out_is_not_sure() {
        let pool = pool(10, vk::DescriptorPoolCreateFlags::empty());
        assert!(pool.take(&[taken(3, 0)]));
        let refused = [taken(1, 0), taken(1, 0)];
        assert!(!pool.take(&refused));
        pool.untake(&refused);
        assert!(pool.take(&[taken(1, 2)]));
        assert!(!pool.take(&[taken(0, 1)]));
    }

    #[test]
    fn allocation_when_sets_run_out_or_one_was_freed_is_not_sure_until_a_reset() {
        let pool = pool(1, vk::DescriptorPoolCreateFlags::empty());
        assert!(pool.take(&[taken(1, 0)]));
        pool.name(std::iter::once((7, taken(1, 0))));
        assert!(!pool.take(&[taken(1, 0)]));
        pool.untake(&[taken(1, 0)]);
        assert!(pool.free(7));
        assert!(!pool.free(7));
        assert!(!pool.take(&[taken(4, 2)]), "the pool may be fragmented");
        pool.name(std::iter::once((8, taken(4, 2))));
        assert_eq!(pool.reset().collect::<Vec<_>>(), [8]);
        assert!(pool.take(&[taken(4, 2)]));
    }

    #[test]
    fn allocation_when_the_size_is_a_hint_is_not_sure() {
        let pool = pool(1, OVERALLOCATION);
        assert!(!pool.take(&[taken(1, 1)]));
    }
}
