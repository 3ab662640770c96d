//! Credit for memory: what the guest may allocate without waiting for the answer.
//!
//! Nobody hears of an allocation that fails then, so that no more is granted than the driver is nearly sure to have: an eighth
//! of what is free, looked at anew while the guest allocates. What fails all the same is poisoned.

use std::time::{Duration, Instant};

use ash::vk;
use vw_transport::Granted;
use vw_transport::control::CREDITS;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{ALLOCATIONS, IN_FILE, NO_OFFSET, PROGRAM, lost};

use crate::gpu::Gpu;
use crate::gpu::import::Rung;
use crate::session::Session;
use crate::session::end::{End, violation};
use crate::session::resolve::Seen;
use crate::session::tables::Tables;

/// The part of what is free that one guest may take unasked: others take of it too.
const PART: u64 = 8;

/// Most allocations that the guest may make unasked before the host sees one of them.
const MOST_ALLOCATIONS: u64 = 1024;

/// How long what was seen free counts.
const STALE: Duration = Duration::from_secs(1);

/// How often is looked at most: it takes a system call or two.
const LOOK_EVERY: Duration = Duration::from_millis(10);

const HEAPS: usize = vk::MAX_MEMORY_HEAPS;
const _: () = assert!(ALLOCATIONS == HEAPS && CREDITS == HEAPS + 1);

/// What is granted of each heap, and of allocations.
#[derive(Debug)]
pub struct Credits {
    granted: [Granted; CREDITS],
    /// Bytes of each heap that were to be granted when that was last looked at.
    aims: [u64; HEAPS],
    looked: Option<Instant>,
    /// Allocations that may be there at a time.
    count: u64,
    /// Bytes that one of them may have.
    size: u64,
    memory: vk::PhysicalDeviceMemoryProperties,
    /// Heaps (bits) that hold memory of this machine.
    system: u32,
}

impl Credits {
    /// Nothing is granted yet. `served` says which memory types the guest sees.
    pub fn new(gpu: &Gpu, served: impl Fn(u32) -> bool) -> Self {
        let memory = gpu.memory_properties();
        let (count, size) = gpu.allocation_limits();
        let cpu = gpu.device_type == vk::PhysicalDeviceType::CPU;
        let types = memory.memory_types_as_slice().iter().enumerate();
        let system = types.filter(|(index, _)| cpu || served(*index as u32));
        let system = system.fold(0, |bits, (_, ty)| bits | 1_u32.checked_shl(ty.heap_index).unwrap_or(0));
        Self {
            granted: Default::default(),
            aims: [0; HEAPS],
            looked: None,
            // Some are left for what the driver allocates itself.
            count: u64::from(count) - u64::from(count) / 8,
            size,
            memory,
            system,
        }
    }

    /// The heap of memory type `ty`, which exists.
    fn heap(&self, ty: u32) -> usize {
        self.memory.memory_types.get(ty as usize).map_or(0, |ty| ty.heap_index as usize).min(HEAPS - 1)
    }

    /// Whether it is time to look at what is free.
    fn is_due(&self) -> bool {
        let Some(age) = self.looked.map(|looked| looked.elapsed()) else { return true };
        let mut low = self.granted.iter().zip(&self.aims).map(|(granted, aim)| granted.amount() < aim / 2);
        age >= STALE || age >= LOOK_EVERY && low.any(|low| low)
    }

    /// Bytes to grant of each heap, of which the session's own allocations take `used`; `available`: bytes that the machine has.
    fn aim(&self, gpu: &Gpu, used: &[u64; HEAPS], available: u64) -> [u64; HEAPS] {
        let budget = gpu.memory_budget();
        std::array::from_fn(|heap| {
            let whole = self.memory.memory_heaps_as_slice().get(heap).map_or(0, |heap| heap.size);
            let budget = budget.map_or(u64::MAX, |free| free[heap]);
            let machine = if self.system & 1 << heap != 0 { available } else { u64::MAX };
            let free = whole.saturating_sub(used[heap]).min(budget).min(machine);
            (free / PART).min(self.size)
        })
    }
}

/// Bytes that this machine has for programs; 0 where it does not say.
fn available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

impl Session {
    /// An allocation of `bytes` bytes of type `ty`, which exists, came without a call.
    ///
    /// # Errors
    /// A violation when the guest was not granted that.
    pub(super) fn spend_credit(
        &mut self,
        offset: u64,
        (bytes, ty): (u64, u32),
        device: u16,
    ) -> Result<(), End> {
        let program = offset != NO_OFFSET && offset & PROGRAM != 0;
        if offset == IN_FILE || program || self.device(device)?.driver_memory {
            return Err(violation("memory whose place the guest has to hear of, without a call"));
        }
        let heap = self.credits.heap(ty);
        let [granted @ .., allocations] = &mut self.credits.granted;
        if allocations.spend(1) && granted[heap].spend(bytes) {
            return Ok(());
        }
        Err(violation(format!("{bytes} bytes of heap {heap} without a call are more than was granted")))
    }

    /// Memory was allocated, or `freed` is: bytes and memory type. Grants what is to be granted now.
    pub(super) fn renew_credits(&mut self, freed: Option<(u64, u32)>) {
        // A guest with pages of its own sees nothing of it; by udmabuf each allocation is a file, of which a process may have few.
        if self.region.mirror().is_some() || self.import.rung == Rung::Udmabuf {
            return;
        }
        if self.devices.iter().flatten().any(|device| device.driver_memory) {
            return self.withdraw_credits();
        }
        if self.credits.is_due() {
            let used = self.memories.used(|ty| self.credits.heap(ty));
            self.credits.aims = self.credits.aim(&self.gpu, &used, available());
            self.credits.looked = Some(Instant::now());
            for (heap, aim) in self.credits.aims.into_iter().enumerate() {
                self.grant(heap, aim);
            }
        } else if let Some((bytes, ty)) = freed {
            let heap = self.credits.heap(ty);
            let more = self.credits.granted[heap].amount().saturating_add(bytes);
            self.grant(heap, more.min(self.credits.aims[heap]));
        }
        let live = u64::from(self.tables.count(HandleType::DeviceMemory));
        let aim = self.credits.count.saturating_sub(live).min(MOST_ALLOCATIONS);
        let granted = self.credits.granted[ALLOCATIONS].amount();
        if granted > aim || granted < aim / 2 {
            self.grant(ALLOCATIONS, aim);
        }
    }

    /// Nothing is to be allocated without a call from now on.
    pub(super) fn withdraw_credits(&mut self) {
        self.credits.aims = [0; HEAPS];
        (0..CREDITS).for_each(|number| self.grant(number, 0));
    }

    fn grant(&mut self, number: usize, aim: u64) {
        if let Some(credit) = self.region.control().credit(number) {
            self.credits.granted[number].set(credit, aim);
        }
    }

    /// A binding was dropped because something that it names could not be created. What stays without memory must not be
    /// used any more. Where it is the memory that could not be had, which the guest was told that it has, the device is lost.
    pub(crate) fn leave_unbound(&mut self, command: &str, seen: Seen) -> Result<(), End> {
        let touched = std::mem::take(&mut self.touched);
        let poisoned = |tables: &Tables, wanted: &[HandleType]| {
            touched.iter().any(|(ty, id)| wanted.contains(ty) && tables.is_poisoned(*ty, *id))
        };
        let objects = [HandleType::Buffer, HandleType::Image];
        if poisoned(&self.tables, &[HandleType::DeviceMemory]) && !poisoned(&self.tables, &objects) {
            let shared = &self.device(seen.device)?.shared;
            shared.lose(lost::MEMORY, &format!("{command} binds memory that could not be allocated"));
        }
        for (ty, id) in touched.iter().filter(|(ty, _)| objects.contains(ty)) {
            self.tables.poison(*ty, *id);
        }
        self.touched = touched;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn aim_when_any_of_heap_budget_and_machine_is_short_is_a_part_of_that() {
        let gpu = Gpu::open(true, None, "test").unwrap();
        let mut credits = Credits::new(&gpu, |ty| ty == 1);
        let heap = credits.memory.memory_heaps[0].size;
        assert_eq!(credits.size, heap);
        let mut used = [0; HEAPS];
        let aim = credits.aim(&gpu, &used, 800);
        assert_eq!(aim[..3], [heap / PART, 100, 0], "heap 1 alone is this machine's memory");
        used[0] = heap - 80;
        used[1] = heap - 160;
        assert_eq!(credits.aim(&gpu, &used, 800)[..2], [10, 20]);
        used[0] = heap + 1;
        credits.size = 7;
        assert_eq!(credits.aim(&gpu, &used, 800)[..2], [0, 7]);
    }

    #[test]
    fn look_when_much_was_spent_or_long_ago_is_due() {
        let gpu = Gpu::open(true, None, "test").unwrap();
        let mut credits = Credits::new(&gpu, |_| true);
        assert!(credits.is_due());
        let ago = |past| Instant::now().checked_sub(past);
        credits.looked = ago(LOOK_EVERY * 2);
        assert!(!credits.is_due());
        credits.aims[1] = 2;
        assert!(credits.is_due());
        credits.aims[1] = 0;
        credits.looked = ago(STALE);
        assert!(credits.is_due());
    }

    #[test]
    fn machine_when_asked_has_memory() {
        assert!(available() > 1 << 20);
    }
}
