//! Memory requirements: the same for all buffers, and all images, that are created alike. The host is asked
//! once for each kind; of ordinary buffers it is enough that they are alike but for the size. Of an image that is unlike
//! others it is asked with the creation, so that the answer is on its way when the program asks.

use std::ffi::c_void;
use std::hash::Hasher;
use std::ptr::null_mut;
use std::sync::{Mutex, OnceLock};

use ash::vk;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{PREFERS_DEDICATED, REQUIRES_DEDICATED};
use vw_wire_protocol::schema::Command;

use crate::alloc::HostAllocator;
use crate::dispatch;
use crate::forward;
use crate::session::{Session, lock};
use crate::table::Table;

/// Most kinds that are told apart; when there are more, the table starts anew.
const MAX_KINDS: usize = 8192;

/// Bytes that the request of most creations takes.
const CREATION: usize = 256;

/// Words that say everything about an image without a chain.
const IMAGE_KEY: usize = 8;

/// Most combinations of device and usage of buffers; more are asked for like images.
const MAX_USES: usize = 256;

/// Which buffers and images are alike.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    kinds: Mutex<Kinds>,
    uses: Uses,
    buffers: Table<Kind>,
    images: Table<Kind>,
}

/// What determines the requirements of a buffer or image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything that its creation says, by number.
    Any(u64),
    /// An ordinary buffer: the index of its use, and its size in bytes.
    Buffer { index: u32, size: u64 },
    /// An image that is unlike others: the number of the question that went with its creation.
    Asked(u64),
}

impl Kind {
    /// For the key of a remembered answer; none where nothing alike is to be expected.
    fn to_bytes(self) -> Option<Vec<u8>> {
        let (a, b) = match self {
            Self::Any(number) => (u64::MAX, number),
            Self::Buffer { index, size } => (index.into(), size),
            Self::Asked(_) => return None,
        };
        Some([a.to_le_bytes(), b.to_le_bytes()].concat())
    }
}

/// Requirements of a buffer or image.
#[derive(Clone, Copy)]
struct Found {
    memory: vk::MemoryRequirements,
    /// `VkMemoryDedicatedRequirements`: preferred, and required; none where only the host knows.
    dedicated: Option<(bool, bool)>,
}

/// Where the requirements go.
#[derive(Debug, Clone, Copy)]
struct Place {
    memory: *mut vk::MemoryRequirements,
    /// Null where they are not asked for.
    dedicated: *mut vk::MemoryDedicatedRequirements<'static>,
}

impl Place {
    /// In an answer that is asked for this and nothing else.
    ///
    /// # Safety
    /// A valid structure with a valid chain.
    unsafe fn of(answer: *mut vk::MemoryRequirements2<'_>) -> Option<Self> {
        // SAFETY: the caller's promise: a structure of the chain begins with its type.
        unsafe {
            let next = (*answer).p_next.cast::<vk::MemoryDedicatedRequirements<'static>>();
            let ours = next.is_null()
                || (*next).s_type == vk::StructureType::MEMORY_DEDICATED_REQUIREMENTS
                    && (*next).p_next.is_null();
            ours.then(|| Self { memory: &raw mut (*answer).memory_requirements, dedicated: next })
        }
    }

    /// Writes what was found; none when something is missing of what is asked for.
    ///
    /// # Safety
    /// The places are valid.
    unsafe fn write(self, found: Found) -> Option<()> {
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(dedicated) = self.dedicated.as_mut() {
                let (prefers, requires) = found.dedicated?;
                dedicated.prefers_dedicated_allocation = prefers.into();
                dedicated.requires_dedicated_allocation = requires.into();
            }
            self.memory.write(found.memory);
        }
        Some(())
    }
}

#[derive(Debug, Default)]
struct Kinds {
    /// By the hash of everything that the creation says, with all of that.
    numbers: FxHashMap<u64, (Box<[u8]>, u64)>,
    /// Number of the last kind; never used twice.
    last: u64,
    /// Hashes of what was created once: most sizes never come again, and remembering them all costs more than it brings.
    once: FxHashSet<u64>,
}

/// A quick hash; who makes its own program slow by what it creates has nobody else to harm.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// Everything that the creation of a buffer or image says.
struct Creation {
    said: Said,
    hash: u64,
}

enum Said {
    /// See [`image_key`].
    Image([[u8; 8]; IMAGE_KEY]),
    Request(Vec<u8>),
}

impl Creation {
    fn new(said: Said) -> Self {
        let mut creation = Self { said, hash: 0 };
        creation.hash = hash(creation.bytes());
        creation
    }

    fn bytes(&self) -> &[u8] {
        match &self.said {
            Said::Image(key) => key.as_flattened(),
            Said::Request(bytes) => bytes,
        }
    }
}

/// What ordinary buffers of one device are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Use {
    device: u64,
    /// `VkBufferUsageFlags`
    usage: u32,
}

/// In the order in which they came: there are few, and no lock is needed to look for one.
#[derive(Debug)]
struct Uses(Box<[(OnceLock<Use>, OnceLock<Rule>)]>);

impl Default for Uses {
    fn default() -> Self {
        Self((0..MAX_USES).map(|_| <_>::default()).collect())
    }
}

impl Uses {
    /// The index of a use; none when there are too many.
    fn index(&self, new: Use) -> Option<u32> {
        self.0.iter().position(|(known, _)| *known.get_or_init(|| new) == new).map(|index| index as u32)
    }
}

/// How the requirements of a buffer follow from its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The size is rounded up to whole granules, of a power of two of bytes; nothing else depends on it.
    RoundedUp { granule: u64, alignment: u64, types: u32 },
    /// The host is to be asked for each size.
    None,
}

/// Sizes that show the rule, in bytes. The specification says of buffers with the same flags and usage that their
/// alignment and types are the same and that a larger one needs no less ("Resource Memory Association"); that what is
/// added is padding alone is tried at both ends and in between, with sizes that no granule divides. Every device takes the
/// largest: `maxBufferSize` is at least 2^30.
const TRIALS: [u64; 4] = [1, 4_097, 300_007, 1_000_000_007];

impl Rule {
    /// The rule that these trials show.
    fn shown_by(trials: &[(u64, vk::MemoryRequirements)]) -> Self {
        let Some((_, first)) = trials.first() else { return Self::None };
        let (granule, alignment, types) = (first.size, first.alignment, first.memory_type_bits);
        let regular = granule.is_power_of_two()
            && trials.iter().all(|(size, found)| {
                (found.alignment, found.memory_type_bits) == (alignment, types)
                    && found.size == size.next_multiple_of(granule)
            });
        if regular { Self::RoundedUp { granule, alignment, types } } else { Self::None }
    }

    fn requirements(self, size: u64) -> Option<vk::MemoryRequirements> {
        let Self::RoundedUp { granule, alignment, types } = self else { return None };
        let size = size.checked_next_multiple_of(granule)?;
        Some(vk::MemoryRequirements { size, alignment, memory_type_bits: types })
    }
}

impl Resources {
    /// Kind of each buffer.
    pub(crate) fn buffers(&self) -> &Table<Kind> {
        &self.buffers
    }

    /// Kind of each image.
    pub(crate) fn images(&self) -> &Table<Kind> {
        &self.images
    }

    /// The kind of what was created twice.
    fn kind(&self, creation: &Creation) -> Option<Kind> {
        let kinds = lock(&self.kinds);
        let (known, number) = kinds.numbers.get(&creation.hash)?;
        (**known == *creation.bytes()).then_some(Kind::Any(*number))
    }

    /// Notes a creation whose kind is not known. Returns it from the second time on.
    fn note(&self, creation: &Creation) -> Option<Kind> {
        let hash = creation.hash;
        let mut kinds = lock(&self.kinds);
        let Kinds { numbers, last, once } = &mut *kinds;
        if numbers.contains_key(&hash) {
            // Another one has the same hash, or another thread was faster.
            return None;
        }
        if once.len() >= MAX_KINDS {
            once.clear();
        }
        if once.insert(hash) {
            return None;
        }
        if numbers.len() >= MAX_KINDS {
            numbers.clear();
        }
        *last += 1;
        numbers.insert(hash, (creation.bytes().into(), *last));
        Some(Kind::Any(*last))
    }
}

impl Session {
    /// The requirements of what is of this kind, without a call where that can be; `dedicated`: of these too.
    ///
    /// # Safety
    /// `device` must be a live device of this session.
    unsafe fn requirements(&self, device: *mut c_void, kind: Kind, dedicated: bool) -> Option<Found> {
        match kind {
            Kind::Asked(number) => told(self.await_answer(number)?),
            Kind::Buffer { .. } if !dedicated => {
                // SAFETY: the caller's promise.
                let memory = unsafe { self.buffer_requirements(device, kind) }?;
                Some(Found { memory, dedicated: None })
            }
            Kind::Buffer { .. } | Kind::Any(_) => None,
        }
    }

    /// The requirements of a buffer of this kind, if they follow from a rule.
    ///
    /// # Safety
    /// `device` must be a live device of this session.
    unsafe fn buffer_requirements(&self, device: *mut c_void, kind: Kind) -> Option<vk::MemoryRequirements> {
        let Kind::Buffer { index, size } = kind else { return None };
        if !self.perf.memo {
            return None;
        }
        let (wanted, rule) = self.objects.resources.uses.0.get(index as usize)?;
        if let Some(rule) = rule.get() {
            return rule.requirements(size);
        }
        let wanted = *wanted.get()?;
        let trial = |size| {
            // SAFETY: the caller's promise.
            let found = unsafe { self.try_buffer(device, wanted, size) }?;
            Some((size, found))
        };
        let trials = TRIALS.map(trial).into_iter().collect::<Option<Vec<_>>>();
        let shown = trials.map_or(Rule::None, |trials| Rule::shown_by(&trials));
        rule.get_or_init(|| shown).requirements(size)
    }

    /// What the host says of a buffer that is made for this question.
    ///
    /// # Safety
    /// `device` must be a live device of this session.
    unsafe fn try_buffer(&self, device: *mut c_void, new: Use, size: u64) -> Option<vk::MemoryRequirements> {
        let usage = vk::BufferUsageFlags::from_raw(new.usage);
        let info = vk::BufferCreateInfo::default().usage(usage).size(size);
        let mut buffer = 0u64;
        let mut found = vk::MemoryRequirements::default();
        // SAFETY: the caller's promise; valid arguments of the three commands.
        unsafe {
            let create = [device as u64, &raw const info as u64, 0, &raw mut buffer as u64];
            let nobodys = HostAllocator::default();
            let cmd = &commands::VK_CREATE_BUFFER;
            let made = forward::try_create(self, cmd, &create, HandleType::Buffer, &nobodys, true);
            if made != vk::Result::SUCCESS {
                return None;
            }
            let query = [device as u64, buffer, &raw mut found as u64];
            forward::call(device, &commands::VK_GET_BUFFER_MEMORY_REQUIREMENTS, &query);
            let destroy = [device as u64, buffer, 0];
            forward::destroy(device, &commands::VK_DESTROY_BUFFER, &destroy, buffer, HandleType::Buffer);
        }
        Some(found)
    }
}

/// What the host has answered; none: it has to be called.
fn told([size, alignment, types]: [u64; 3]) -> Option<Found> {
    let memory_type_bits = types as u32;
    let memory = vk::MemoryRequirements { size, alignment, memory_type_bits };
    let dedicated = Some((types & PREFERS_DEDICATED != 0, types & REQUIRES_DEDICATED != 0));
    (memory_type_bits != 0).then_some(Found { memory, dedicated })
}

/// Everything that the creation of an image without a chain says, if one queue family alone has it at a time; nothing that
/// a request could begin with.
///
/// # Safety
/// `device` must be a live device.
unsafe fn image_key(device: *mut c_void, info: &vk::ImageCreateInfo<'_>) -> Option<[u64; IMAGE_KEY]> {
    if !info.p_next.is_null() || info.sharing_mode != vk::SharingMode::EXCLUSIVE {
        return None;
    }
    let pair = |a: u32, b: u32| u64::from(a) | u64::from(b) << 32;
    let signed = |a: i32, b: i32| pair(a as u32, b as u32);
    Some([
        // There is no opcode 0.
        0,
        // SAFETY: the caller's promise.
        unsafe { dispatch::id(device) },
        pair(info.flags.as_raw(), info.usage.as_raw()),
        signed(info.image_type.as_raw(), info.format.as_raw()),
        pair(info.extent.width, info.extent.height),
        pair(info.extent.depth, info.mip_levels),
        pair(info.array_layers, info.samples.as_raw()),
        signed(info.tiling.as_raw(), info.initial_layout.as_raw()),
    ])
}

/// Buffers or images: the commands that differ by the type of object only.
pub(crate) struct ResourceType {
    pub(crate) ty: HandleType,
    pub(crate) table: fn(&Resources) -> &Table<Kind>,
    pub(crate) create: &'static Command,
    pub(crate) destroy: &'static Command,
    /// `vkGet*MemoryRequirements`
    pub(crate) query: &'static Command,
    /// `vkGet*MemoryRequirements2`
    pub(crate) query_2: &'static Command,
}

/// `Vk*MemoryRequirementsInfo2`, alike for buffers and images.
#[repr(C)]
#[derive(Clone, Copy)]
struct Question {
    s_type: vk::StructureType,
    next: *const c_void,
    object: u64,
}

const _: () = assert!(size_of::<Question>() == size_of::<vk::BufferMemoryRequirementsInfo2<'_>>());
const _: () = assert!(size_of::<Question>() == size_of::<vk::ImageMemoryRequirementsInfo2<'_>>());

/// Callers pass on the arguments of the command that the method is named after, whose valid usage is the
/// application's.
impl ResourceType {
    pub(crate) unsafe fn create(
        &self,
        device: *mut c_void,
        info: *const c_void,
        callbacks: *const c_void,
        object: *mut u64,
    ) -> i32 {
        let args = [device as u64, info as u64, callbacks as u64, object as u64];
        // SAFETY: the caller's promise.
        unsafe {
            let result = forward::create(device, self.create, &args, self.ty, callbacks);
            if let Some(session) = dispatch::session(device).filter(|_| result == 0) {
                let resources = &session.objects.resources;
                if let Some(kind) = self.kind(session, device, info, *object) {
                    (self.table)(resources).insert(*object, kind);
                }
            }
            result
        }
    }

    /// The kind of a new image whose requirements the host was asked for now.
    unsafe fn asked(&self, session: &Session, info: *const c_void, object: u64) -> Option<Kind> {
        // Over a stream an answer is a message, whoever wants it.
        if self.ty != HandleType::Image || !session.perf.memo || session.region().mirror().is_some() {
            return None;
        }
        // SAFETY: the promise of the methods' callers.
        let flags = unsafe { (*info.cast::<vk::ImageCreateInfo<'_>>()).flags };
        if flags.contains(vk::ImageCreateFlags::DISJOINT) {
            // Each plane has requirements of its own.
            return None;
        }
        session.with_sender(|sender| sender.ask_requirements(object)).ok().map(Kind::Asked)
    }

    /// The kind of `object`, which `info` creates; none if the host has to be called when its requirements are asked for.
    unsafe fn kind(
        &self,
        session: &Session,
        device: *mut c_void,
        info: *const c_void,
        object: u64,
    ) -> Option<Kind> {
        let resources = &session.objects.resources;
        // SAFETY: the promise of the methods' callers. Without the pointer to the new handle the request says only what is
        // created.
        unsafe {
            if self.ty == HandleType::Buffer {
                let info = &*info.cast::<vk::BufferCreateInfo<'_>>();
                let ordinary = info.p_next.is_null() && info.flags.is_empty();
                if ordinary && info.sharing_mode == vk::SharingMode::EXCLUSIVE {
                    let new = Use { device: dispatch::id(device), usage: info.usage.as_raw() };
                    if let Some(index) = resources.uses.index(new) {
                        return Some(Kind::Buffer { index, size: info.size });
                    }
                }
            }
            let image = self.ty == HandleType::Image;
            let key = if image { image_key(device, &*info.cast()) } else { None };
            let said = match key {
                Some(key) => Said::Image(key.map(u64::to_le_bytes)),
                None => {
                    let args = [device as u64, info as u64, 0, 0];
                    Said::Request(
                        forward::request_bytes(self.create, &args, Vec::with_capacity(CREATION)).ok()?,
                    )
                }
            };
            let creation = Creation::new(said);
            resources.kind(&creation).or_else(|| {
                let asked = self.asked(session, info, object);
                if image && asked.is_none() {
                    // The next question is about it: the host can be making it meanwhile.
                    session.flush();
                }
                let noted = resources.note(&creation);
                asked.or(noted)
            })
        }
    }

    pub(crate) unsafe fn destroy(&self, device: *mut c_void, object: u64, callbacks: *const c_void) {
        let args = [device as u64, object, callbacks as u64];
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(session) = dispatch::session(device) {
                (self.table)(&session.objects.resources).remove(object);
            }
            forward::destroy(device, self.destroy, &args, object, self.ty);
        }
    }

    pub(crate) unsafe fn requirements(&self, device: *mut c_void, object: u64, out: *mut c_void) {
        let args = [device as u64, object, out as u64];
        let anonymous = [device as u64, 0, out as u64];
        let place = Place { memory: out.cast(), dedicated: null_mut() };
        // SAFETY: the caller's promise: there is room for the answer.
        unsafe { self.ask(device, self.query, &args, &anonymous, object, Some(place)) };
    }

    pub(crate) unsafe fn requirements_2(&self, device: *mut c_void, info: *const c_void, out: *mut c_void) {
        // SAFETY: the caller's promise; the structure was checked above to look like this.
        unsafe {
            let question = *info.cast::<Question>();
            let nobody = Question { object: 0, ..question };
            let args = [device as u64, info as u64, out as u64];
            let anonymous = [device as u64, &raw const nobody as u64, out as u64];
            // More is asked for in chains.
            let place = if question.next.is_null() { Place::of(out.cast()) } else { None };
            self.ask(device, self.query_2, &args, &anonymous, question.object, place);
        }
    }

    /// Answers a question about an object: to `place`, if it follows from a rule and is only about that, else the host is
    /// asked, unless it has answered the same question about one of the same kind. `anonymous` are the arguments with
    /// a null handle in the place of the object.
    unsafe fn ask(
        &self,
        device: *mut c_void,
        cmd: &Command,
        args: &[u64],
        anonymous: &[u64],
        object: u64,
        place: Option<Place>,
    ) {
        // SAFETY: the promise of the methods' callers.
        unsafe {
            let Some(session) = dispatch::session(device) else { return };
            let Some(kind) = (self.table)(&session.objects.resources).get(object) else {
                forward::call(device, cmd, args);
                return;
            };
            let known = |place: Place| {
                let found = session.requirements(device, kind, !place.dedicated.is_null())?;
                place.write(found)
            };
            if place.and_then(|place| forward::guard(device, None, || known(place))).is_some() {
                return;
            }
            let key = kind.to_bytes().and_then(|kind| forward::request_bytes(cmd, anonymous, kind).ok());
            if let Some(key) = key {
                forward::guard(device, (), || {
                    let _ = session.call_once(cmd, args, key);
                });
            } else {
                forward::call(device, cmd, args);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
#[path = "requirements_tests.rs"]
mod tests;
