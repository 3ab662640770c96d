//! What a session holds and has done, readable from any thread.

use std::fmt::Write;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use vw_wire_protocol::generated::handles::HandleType;

/// Counters of one session. Written by its decode thread, read by whoever logs or watches.
#[derive(Debug)]
pub struct Stats {
    live: [AtomicU32; HandleType::COUNT],
    memory: AtomicU64,
    records: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            live: [const { AtomicU32::new(0) }; HandleType::COUNT],
            memory: AtomicU64::new(0),
            records: AtomicU64::new(0),
        }
    }
}

/// A copy of the counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Live objects by the name of their type, types without any left out.
    pub objects: Vec<(&'static str, u32)>,
    /// Device memory in bytes.
    pub memory: u64,
    /// Records taken from the ring.
    pub records: u64,
}

impl Stats {
    /// Number of live objects of a type.
    pub fn set_live(&self, ty: HandleType, count: u32) {
        self.live[ty as usize].store(count, Relaxed);
    }

    /// `bytes` of device memory were allocated.
    pub fn add_memory(&self, bytes: u64) {
        self.memory.fetch_add(bytes, Relaxed);
    }

    /// `bytes` of device memory were freed.
    pub fn remove_memory(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Relaxed);
    }

    /// Bytes of device memory held.
    pub fn memory(&self) -> u64 {
        self.memory.load(Relaxed)
    }

    /// Number of records taken from the ring.
    pub fn set_records(&self, count: u64) {
        self.records.store(count, Relaxed);
    }

    /// What is held now.
    pub fn held(&self) -> Held {
        let objects = (0..HandleType::COUNT).filter_map(|i| {
            let ty = HandleType::from_u8(i as u8)?;
            let count = self.live[i].load(Relaxed);
            let own = matches!(ty, HandleType::Instance | HandleType::PhysicalDevice);
            (count > 0 && !own).then(|| (ty.name(), count))
        });
        Held { objects: objects.collect(), memory: self.memory(), records: self.records.load(Relaxed) }
    }
}

impl Held {
    /// The objects for a log line: `Buffer 3, Image 1`, or `none`.
    pub fn objects_text(&self) -> String {
        if self.objects.is_empty() {
            return "none".to_owned();
        }
        let mut text = String::new();
        for (name, count) in &self.objects {
            let separator = if text.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{name} {count}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_when_objects_live_lists_them_by_name() {
        let stats = Stats::default();
        assert_eq!(stats.held().objects_text(), "none");
        stats.set_live(HandleType::Buffer, 3);
        stats.set_live(HandleType::PhysicalDevice, 1);
        stats.add_memory(100);
        stats.remove_memory(40);
        let held = stats.held();
        assert_eq!(held.objects, [(HandleType::Buffer.name(), 3)]);
        assert_eq!(held.memory, 60);
    }
}
