//! One guest's session: records in, driver calls out.
//!
//! A session lives in a process of its own ([`process`]) and is driven by one thread, which takes records from the
//! ring ([`Session::serve`]), decodes and validates them ([`dispatch`], [`stream`]), and calls the driver. Completion
//! threads, one per queue, publish what the GPU has finished.

pub mod dispatch;
pub mod end;
pub mod greet;
pub mod policy;
pub mod process;
pub mod reply;
pub mod resolve;
pub(crate) mod slice;
pub mod stats;
pub mod status;
pub mod straight;
pub mod stream;
pub mod tables;
pub mod warden;
pub mod workers;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ash::vk::Handle;
use vw_transport::handshake::feature;
use vw_transport::{Connection, Consumer, Liveness, Peer, Region, Spin};
use vw_wire_protocol::codec::{Arena, Reader, Request};
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{FLAG_LAST, FLAG_REPLY, HEADER_SIZE, Header, MAX_RECORD, op};
use vw_wire_protocol::schema::Command;
use vw_wire_protocol::straight::Scratch;

use self::end::{End, violation};
use self::policy::Policies;
use self::reply::Replies;
use self::resolve::Seen;
use self::stats::Stats;
use self::tables::{ById, Object, Tables};
use self::warden::Pulse;
use crate::config::Limits;
use crate::frames::Frames;
use crate::gpu::Gpu;
use crate::gpu::driver_memory::Files;
use crate::gpu::facts;
use crate::gpu::import::{self, Import, Rung};
use crate::gpu::udmabuf::Udmabuf;
use crate::object::command_buffer::CommandBuffers;
use crate::object::compiling::Compiling;
use crate::object::credits::Credits;
use crate::object::descriptor_set::Updates;
use crate::object::device::Device;
use crate::object::external::Handles;
use crate::object::image::Made;
use crate::object::joined::{self, Joined};
use crate::object::memory::Memories;
use crate::object::payload::Payloads;
use crate::object::pool::Pools;
use crate::object::queue::{self, Held};
use crate::perf::Perf;
use crate::window::Window;

/// Id of the guest's one instance and one physical device.
const ONLY: u64 = 1;

/// Records taken from the ring before their room is given back.
const RELEASE_EVERY: u32 = 64;

/// A session after the handshake.
pub struct Session {
    pub(crate) gpu: Gpu,
    pub(crate) import: Import,
    pub(crate) udmabuf: Option<Udmabuf>,
    pub(crate) region: Arc<Region>,
    /// The region's window.
    pub(crate) window: Arc<Window>,
    pub(crate) tables: Tables,
    pub(crate) stats: Arc<Stats>,
    /// By number, from 1.
    pub(crate) devices: Vec<Option<Device>>,
    pub(crate) memories: Memories,
    /// What of it the guest may have unasked.
    pub(crate) credits: Credits,
    /// What each image was created with.
    pub(crate) images: ById<Made>,
    /// Buffers that the device cannot write, where that matters.
    pub(crate) read_only: HashSet<u64>,
    pub(crate) pools: Pools,
    /// Pipelines that are not in the tables yet.
    pub(crate) compiling: Compiling,
    pub(crate) buffers: CommandBuffers,
    pub(crate) robust_buffer_access: bool,
    /// Number of the device's memory types.
    pub(crate) memory_types: u32,
    /// The guest's socket.
    pub(crate) peer: Arc<Peer>,
    /// Which handles of memory the guest may have.
    pub(crate) handles: Handles,
    /// Whether the guest may have semaphores and fences that several processes share.
    pub(crate) shares_sync: bool,
    /// What is behind those.
    pub(crate) payloads: Payloads,
    /// What the guest presents.
    pub(crate) frames: Arc<Frames>,
    /// Files that the driver keeps its memory in.
    pub(crate) files: Files,
    /// Submissions that the driver gets with the next one.
    pub(crate) joined: Joined,
    /// The last submission, until its completion is known or is a queue's thread's to find out.
    pub(crate) held: Option<Held>,
    /// How long it is worth to look for that.
    pub(crate) completion_spin: Spin,
    /// The last record was a part of a command buffer that the guest still records.
    recording: bool,
    /// How long it is worth to look for the next part: a matter of microseconds, whatever other waits are.
    recording_spin: Spin,
    /// Which optimisations are on.
    pub(crate) perf: Perf,
    pub(crate) policies: Policies,
    /// What the decoding of streams without the tables works in.
    pub(crate) scratch: Scratch,
    /// What descriptor updates work in.
    pub(crate) updates: Updates,
    pub(crate) replies: Replies,
    /// Objects that the last record names, for commands that ask for the list.
    pub(crate) touched: Vec<(HandleType, u64)>,
    /// Parts of a record that is not complete yet.
    parts: Vec<u8>,
    /// Most bytes that one record may take when decoded.
    pub(crate) record_limit: usize,
    records: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("gpu", &self.gpu)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

/// A decoded request and what was met among its ids.
#[derive(Debug)]
pub(crate) struct Decoded<'m> {
    pub(crate) request: Request<'m>,
    pub(crate) seen: Seen,
}

impl Session {
    /// A session over `connection` with the device that the guest was promised.
    pub fn new(
        connection: &Connection,
        mut gpu: Gpu,
        (mut import, udmabuf): (Import, Option<Udmabuf>),
        limits: &Limits,
        stats: Arc<Stats>,
    ) -> Self {
        let region = Arc::clone(&connection.region);
        let pages = region.mirror().is_none() && import.rung == Rung::HostPointer;
        if !pages {
            // The program's pages cannot become the device's.
            gpu.withdraw(import::EXTENSION);
        }
        let descriptors = connection.welcome.features & feature::DESCRIPTORS != 0;
        import.sparse = import.sparse.offered(descriptors);
        let mut tables = Tables::new(Arc::clone(&stats));
        for (ty, raw) in [
            (HandleType::Instance, gpu.instance.handle().as_raw()),
            (HandleType::PhysicalDevice, gpu.physical.as_raw()),
        ] {
            // The tables are empty: the first id is free.
            if tables.reserve(ty, ONLY).is_ok() {
                tables.commit(ty, ONLY, Object { raw, ..Object::default() });
            }
        }
        let perf = Perf::from_environment();
        let credits = Credits::new(&gpu, |ty| import.serves(ty));
        Self {
            memory_types: gpu.memory_properties().memory_type_count,
            peer: Arc::clone(&connection.peer),
            handles: Handles { descriptors, pages },
            shares_sync: descriptors && gpu.has_timeline_semaphores(),
            payloads: Payloads::default(),
            frames: Frames::new(Arc::clone(&region)),
            files: Files::default(),
            replies: Replies::new(Arc::clone(&region)),
            robust_buffer_access: limits.robust_buffer_access,
            record_limit: usize::try_from(limits.record.0).unwrap_or(usize::MAX),
            gpu,
            window: Arc::new(Window::new(Arc::clone(&region), import.rung != Rung::HostPointer)),
            import,
            udmabuf,
            region,
            tables,
            stats,
            devices: Vec::new(),
            memories: Memories::default(),
            credits,
            images: ById::default(),
            read_only: HashSet::new(),
            pools: Pools::default(),
            compiling: Compiling::default(),
            buffers: CommandBuffers::default(),
            joined: Joined::default(),
            held: None,
            completion_spin: perf.new_spin(),
            recording_spin: perf.new_spin(),
            recording: false,
            perf,
            policies: Policies::new(),
            scratch: Scratch::default(),
            updates: Updates::default(),
            touched: Vec::new(),
            parts: Vec::new(),
            records: 0,
        }
    }

    /// Takes records until the session ends, and says why it did. With a `pulse` there is a warden that wakes this
    /// thread when the guest is gone.
    pub fn serve(&mut self, connection: &Connection, stop: &AtomicBool, pulse: Option<&Pulse>) -> End {
        let mut consumer = Consumer::new(Arc::clone(&self.region));
        consumer.set_spin(self.perf.new_spin());
        if self.perf.foretell {
            consumer.foretell();
        }
        let mut arena = Arena::new(self.record_limit);
        loop {
            self.look_for_completion(&mut consumer);
            if self.recording {
                consumer.look(&self.recording_spin, || false);
            }
            let guest: &dyn Liveness = match pulse {
                Some(pulse) => {
                    pulse.beat();
                    pulse
                }
                None => &*connection.peer,
            };
            match consumer.wait(guest, stop) {
                Ok(true) => {}
                Ok(false) => return End::Stopped,
                Err(_) => return End::Disconnected,
            }
            if let Err(end) = self.drain(&mut consumer, &mut arena, stop) {
                return end;
            }
        }
    }

    /// Takes all records that are there.
    fn drain(&mut self, consumer: &mut Consumer, arena: &mut Arena, stop: &AtomicBool) -> Result<(), End> {
        let mut taken = 0;
        while let Some(record) = consumer.next().map_err(violation)? {
            let header = Header::from_word(record.word);
            // The record may keep this thread for long.
            self.hand_over();
            self.records += 1;
            self.stats.set_records(self.records);
            // SAFETY: the payload lies in the mapped ring and stays until it is released below.
            let reader = unsafe { Reader::from_raw(record.payload.as_ptr(), record.len) };
            if header.opcode == op::FRAGMENT {
                self.part(arena, header, reader, record.len)?;
            } else {
                self.record(arena, header, reader, record.payload.as_ptr(), record.len)?;
            }
            taken += 1;
            if taken % RELEASE_EVERY == 0 || is_call(header) {
                consumer.release();
                if stop.load(Ordering::Acquire) {
                    break;
                }
            }
        }
        consumer.release();
        self.submit_joined()?;
        self.compiling.collect(&mut self.tables);
        Ok(())
    }

    /// A part of a record that is larger than the ring takes.
    fn part(
        &mut self,
        arena: &mut Arena,
        header: Header,
        mut reader: Reader<'_>,
        length: usize,
    ) -> Result<(), End> {
        if self.parts.len() + length > MAX_RECORD {
            return Err(violation(format!("the parts of a record exceed {MAX_RECORD} bytes")));
        }
        let start = self.parts.len();
        self.parts.resize(start + length, 0);
        reader.take_bytes(&mut self.parts[start..]).map_err(violation)?;
        if header.flags & FLAG_LAST == 0 {
            return Ok(());
        }
        let whole = std::mem::take(&mut self.parts);
        let Some((word, payload)) = whole.split_first_chunk::<HEADER_SIZE>() else {
            return Err(violation("the parts of a record are shorter than its header"));
        };
        let header = Header::from_word(u64::from_le_bytes(*word));
        if header.length as usize != whole.len() || header.opcode == op::FRAGMENT {
            return Err(violation(format!(
                "the parts of a record are {} bytes, their header says {} (opcode {:#x})",
                whole.len(),
                header.length,
                header.opcode
            )));
        }
        self.record(arena, header, Reader::new(payload), payload.as_ptr(), payload.len())
    }

    /// A whole record; `payload` and `length` are what `reader` reads.
    fn record(
        &mut self,
        arena: &mut Arena,
        header: Header,
        mut reader: Reader<'_>,
        payload: *const u8,
        length: usize,
    ) -> Result<(), End> {
        arena.reset();
        self.recording = false;
        if !joined::joins(header.opcode) {
            self.submit_joined()?;
        }
        match header.opcode {
            op::STREAM => {
                let id = reader.take_u64().map_err(violation)?;
                // SAFETY: 8 bytes of the payload were read, the rest follows.
                unsafe { self.stream(arena, id, payload.add(8), length - 8) }
            }
            op::ARENA_STREAM => self.arena_stream(arena, reader),
            op::FACTS => {
                reader.finish().map_err(violation)?;
                let window = self.region.window().1 as u64;
                let facts = facts::gather(&self.gpu, &self.import, window).encode();
                self.replies.post(|writer| writer.put_bytes(&facts))
            }
            op::FETCH_REPLY => {
                let offset = reader.take_u64().map_err(violation)?;
                self.replies.fetch(offset)
            }
            op::CREATE_DEVICE => self.create_device(arena, reader),
            op::ALLOCATE_MEMORY => self.allocate_memory(arena, header.flags, reader),
            op::SHOW_MEMORY => self.show_memory(header.flags, reader),
            op::TELL_REQUIREMENTS => self.tell_requirements(reader),
            op::RENAME_MEMORY => self.rename_memory(reader),
            op::ATTACH_PAYLOAD => self.attach_payload(reader),
            op::DETACH_PAYLOAD => self.detach_payload(reader),
            op::SUBMIT_SHARED => self.submit_shared(arena, header.flags, reader),
            op::SIGNAL_FENCE => self.signal_fence(reader),
            op::FRAME => self.announce_frame(reader),
            op::SHOWN => self.frames_shown(reader),
            op::NAME_OBJECT => self.name_object(reader),
            op::TAG_OBJECT => self.tag_object(reader),
            op::UPDATE_DESCRIPTOR_SETS => self.update_descriptor_sets(reader),
            queue::SUBMIT | queue::SUBMIT_2
                // SAFETY: `payload` and `length` are what the reader reads.
                if unsafe { self.submit_straight(header, payload, length)? } =>
            {
                Ok(())
            }
            // SAFETY: as above.
            opcode if header.flags == 0 && unsafe { self.call_straight(arena, opcode, payload, length)? } => {
                Ok(())
            }
            opcode => self.command(arena, opcode, header.flags, reader),
        }
    }

    /// The device with this number.
    ///
    /// # Errors
    /// A violation when there is none.
    pub(crate) fn device(&self, number: u16) -> Result<&Device, End> {
        let index = usize::from(number).checked_sub(1);
        let device = index.and_then(|index| self.devices.get(index)).and_then(Option::as_ref);
        device.ok_or_else(|| violation("a command without a device"))
    }

    /// As [`device`](Self::device), to be changed.
    ///
    /// # Errors
    /// A violation when there is none.
    pub(crate) fn device_mut(&mut self, number: u16) -> Result<&mut Device, End> {
        let index = usize::from(number).checked_sub(1);
        let device = index.and_then(|index| self.devices.get_mut(index)).and_then(Option::as_mut);
        device.ok_or_else(|| violation("a command without a device"))
    }

    /// Whether guests may use what brings this command.
    pub(crate) fn provides(&self, command: &Command) -> bool {
        self.gpu.offer.provides(command.provided_by)
    }
}

/// Whether the guest waits for the answer to this record of vw's own, or may.
fn is_call(header: Header) -> bool {
    header.opcode >= op::FIRST || header.flags & FLAG_REPLY != 0
}
