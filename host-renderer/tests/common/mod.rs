//! A guest of a few lines, and a renderer to connect it to.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub(crate) mod recording;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ash::vk;
use rustix::process::{Pid, Signal, kill_process};
use vw_host_renderer::config::Limits;
use vw_host_renderer::gpu::Gpu;
use vw_host_renderer::gpu::import::Import;
use vw_host_renderer::session::Session;
use vw_host_renderer::session::end::End;
use vw_host_renderer::session::greet::VERSIONS;
use vw_host_renderer::session::stats::Stats;
use vw_transport::connection::connect;
use vw_transport::{Connection, Hello, Limits as Sizes, Producer, Spin};
use vw_wire_protocol::codec::{Writer, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::{FLAG_REPLY, FLAG_WATCH, HEADER_SIZE, Header, NO_OFFSET, op, record_length};
use vw_wire_protocol::schema::Command as VkCommand;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A dispatchable handle as the codec reads it.
#[repr(C)]
pub(crate) struct Dispatchable {
    magic: usize,
    id: u64,
}

/// A handle with this id, for arguments.
pub(crate) fn dispatchable(id: u64) -> u64 {
    std::ptr::from_ref(Box::leak(Box::new(Dispatchable { magic: 0, id }))) as u64
}

/// The request of `command` with these arguments.
pub(crate) fn request(command: &VkCommand, args: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::growing(&mut bytes, 1 << 20);
    // SAFETY: the tests give valid arguments.
    unsafe { encode_request(command, args, &mut writer) };
    writer.finish().unwrap();
    bytes
}

/// A whole record, padded.
pub(crate) fn record(opcode: u16, payload: &[u8]) -> Vec<u8> {
    flagged_record(opcode, 0, payload)
}

/// A whole record with flags in its header, padded.
pub(crate) fn flagged_record(opcode: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = record_length(payload.len());
    let header = Header { opcode, flags, length: length as u32 };
    let mut bytes = header.to_word().to_le_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(length, 0);
    bytes
}

/// The guest's end of a session.
pub(crate) struct Guest {
    pub(crate) connection: Connection,
    pub(crate) producer: Producer,
    replies: u32,
}

impl Guest {
    /// Connects to the renderer at `path`.
    pub(crate) fn connect(path: &Path) -> Result<Self, String> {
        let connection =
            connect(path, &Hello::new(VERSIONS, "test-guest")).map_err(|error| error.to_string())?;
        Ok(Self::over(connection))
    }

    /// Over a connection.
    pub(crate) fn over(connection: Connection) -> Self {
        let producer = Producer::new(Arc::clone(&connection.region), connection.peer.clone());
        Self { connection, producer, replies: 0 }
    }

    /// Puts bytes into the ring; whether they are a record is the test's business.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        let space = self.producer.reserve(bytes.len()).map_err(|error| error.to_string())?;
        assert!(space.len >= bytes.len());
        // SAFETY: the space was reserved for this guest.
        unsafe { space.ptr.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.producer.commit(bytes.len());
        self.producer.publish();
        Ok(())
    }

    /// Sends a record.
    pub(crate) fn send(&mut self, opcode: u16, payload: &[u8]) -> Result<(), String> {
        self.push(&record(opcode, payload))
    }

    /// Sends a command that is not answered.
    pub(crate) fn command(&mut self, command: &VkCommand, args: &[u64]) -> Result<(), String> {
        self.send(command.opcode, &request(command, args))
    }

    /// Sends a submission, whose completion is to be published.
    pub(crate) fn submit(&mut self, args: &[u64]) -> Result<(), String> {
        let command = &commands::VK_QUEUE_SUBMIT;
        self.push(&flagged_record(command.opcode, FLAG_WATCH, &request(command, args)))
    }

    /// Sends a record and waits for its answer.
    pub(crate) fn call(&mut self, opcode: u16, payload: &[u8]) -> Result<Vec<u8>, String> {
        self.push(&flagged_record(opcode, FLAG_REPLY, payload))?;
        self.replies += 1;
        let expected = self.replies;
        let region = Arc::clone(&self.connection.region);
        let control = region.control();
        let deadline = Some(Instant::now() + PATIENCE);
        let woken = control
            .reply()
            .wait_until(&Spin::adaptive(), deadline, &*self.connection.peer, || {
                control.reply_seq() == expected
            })
            .map_err(|error| error.to_string())?;
        if control.reply_seq() != expected {
            return Err(format!("no reply: {woken:?}"));
        }
        let length = control.reply_len() as usize;
        if let Some(words) = control.short_reply() {
            return Ok(words.map(u64::to_le_bytes).as_flattened()[..length].to_vec());
        }
        let (area, size) = region.reply();
        let mut bytes = vec![0; length.min(size)];
        // SAFETY: the area is `size` bytes long and mapped as long as the region.
        unsafe { area.as_ptr().copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Ok(bytes)
    }

    /// Whether the host ends the session.
    pub(crate) fn is_ended(&self) -> bool {
        wait_for(|| !vw_transport::Liveness::alive(&*self.connection.peer))
    }

    /// Creates device 1 with queue 1 of family 0 in slot 0.
    pub(crate) fn create_device(&mut self) -> Result<i64, String> {
        self.create_device_with(0)
    }

    /// As [`create_device`](Self::create_device), with the chain at `next`.
    pub(crate) fn create_device_with(&mut self, next: u64) -> Result<i64, String> {
        self.create_device_as(1, next)
    }

    /// As [`create_device_with`](Self::create_device_with), with the id of the device and of its queue.
    pub(crate) fn create_device_as(&mut self, id: u64, next: u64) -> Result<i64, String> {
        let mut payload = Vec::new();
        payload.extend_from_slice(&1_u32.to_le_bytes());
        for word in [0_u32; 4] {
            payload.extend_from_slice(&word.to_le_bytes());
        }
        payload.extend_from_slice(&id.to_le_bytes());
        payload.extend_from_slice(&create_device_request(id, next));
        let reply = self.call(op::CREATE_DEVICE, &payload)?;
        Ok(ret(&reply))
    }

    /// Allocates memory `id` of 8192 bytes at `offset` of the window.
    pub(crate) fn allocate(&mut self, id: u64, offset: u64) -> Result<i64, String> {
        let reply = self.call(op::ALLOCATE_MEMORY, &allocate_payload(id, 8192, offset, 1))?;
        Ok(ret(&reply))
    }

    /// Creates buffer `id`.
    pub(crate) fn create_buffer(&mut self, id: u64) -> Result<(), String> {
        let info = vk::BufferCreateInfo::default().size(4096).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
        let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, 0, std::ptr::from_ref(&id) as u64];
        self.command(&commands::VK_CREATE_BUFFER, &args)
    }
}

/// The return value that a reply starts with.
pub(crate) fn ret(reply: &[u8]) -> i64 {
    i64::from_le_bytes(reply[..8].try_into().unwrap())
}

/// A `vkCreateDevice` request for device `id` with one queue.
pub(crate) fn create_device_request(id: u64, next: u64) -> Vec<u8> {
    let priority = [1.0];
    let queue = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priority)];
    let mut info = vk::DeviceCreateInfo::default().queue_create_infos(&queue);
    info.p_next = next as *const _;
    let device = Dispatchable { magic: 0, id };
    let out = std::ptr::from_ref(&device) as u64;
    let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, 0, std::ptr::from_ref(&out) as u64];
    request(&commands::VK_CREATE_DEVICE, &args)
}

/// The payload of an `ALLOCATE_MEMORY` record; `offset` [`NO_OFFSET`] for memory that the guest does not see.
pub(crate) fn allocate_payload(id: u64, size: u64, offset: u64, ty: u32) -> Vec<u8> {
    let info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(ty);
    let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, 0, std::ptr::from_ref(&id) as u64];
    let mut payload = offset.to_le_bytes().to_vec();
    payload.extend_from_slice(&request(&commands::VK_ALLOCATE_MEMORY, &args));
    payload
}

/// The offset that says that there is none.
pub(crate) const UNSEEN: u64 = NO_OFFSET;

/// Size of a record's header.
pub(crate) const HEADER: usize = HEADER_SIZE;

/// Runs a session in this process for a guest that does `f`, and returns how it ended.
pub(crate) fn in_process(f: impl FnOnce(&mut Guest)) -> End {
    let sizes = Sizes {
        ring_size: 64 << 10,
        reply_size: 16 << 10,
        arena_size: 256 << 10,
        window_size: 1 << 20,
        ..Sizes::default()
    };
    let (guest, host) = vw_transport::in_process::pair(&sizes).unwrap();
    let gpu = Gpu::open(true, None, "test").unwrap();
    let stats = Arc::new(Stats::default());
    let limits = Limits::default();
    let mut session = Session::new(&host, gpu, (Import::of_types(2, 4096), None), &limits, stats);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let end = session.serve(&host, &stop, None);
            host.peer.close("over");
            end
        });
        let mut guest = Guest::over(guest);
        f(&mut guest);
        drop(guest);
        serving.join().expect("the session does not panic")
    })
}

/// As [`in_process`], for a guest that breaks the protocol: what the session says of it.
pub(crate) fn violates(f: impl FnOnce(&mut Guest)) -> String {
    match in_process(f) {
        End::Violation(text) => text,
        end => panic!("{end:?}"),
    }
}

/// Waits until `f` holds; false when it does not within [`PATIENCE`].
pub(crate) fn wait_for(mut f: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if f() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder of the test's own, removed when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Folder(Arc<Removed>);

struct Removed(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vw-host-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(Arc::new(Removed(path)))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A `vw-renderer --null` that runs; killed when dropped.
pub(crate) struct Renderer {
    pub(crate) child: Child,
    pub(crate) folder: Folder,
}

impl Renderer {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::listening(Self::start_in(Folder::new(), args))
    }

    /// With the host's driver instead of the null device.
    pub(crate) fn start_with_driver(args: &[&str]) -> Self {
        Self::listening(Self::start_command(Folder::new(), args))
    }

    fn listening(renderer: Self) -> Self {
        assert!(wait_for(|| renderer.log().contains("listens")), "{}", renderer.log());
        renderer
    }

    /// In a folder where another renderer's socket may be.
    pub(crate) fn start_in(folder: Folder, args: &[&str]) -> Self {
        Self::start_command(folder, &[&["--null"], args].concat())
    }

    fn start_command(folder: Folder, args: &[&str]) -> Self {
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.file("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_vw-renderer"))
            .args(["--listen", &format!("unix:{}", folder.file("vw.sock").display())])
            // Without processes that wait, unless a test is about them.
            .args(if args.contains(&"--warm") { &[][..] } else { &["--warm", "0"] })
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.file("vw.sock")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.file("log")).unwrap_or_default()
    }

    pub(crate) fn connect(&self) -> Guest {
        Guest::connect(&self.socket()).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// Waits for a line with all of `needles`.
    pub(crate) fn logs(&self, needles: &[&str]) -> bool {
        wait_for(|| self.log().lines().any(|line| needles.iter().all(|needle| line.contains(needle))))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> Option<ExitStatus> {
        let mut status = None;
        wait_for(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status
    }

    /// Process ids of the broker's children.
    pub(crate) fn children(&self) -> Vec<u32> {
        children_of(self.child.id())
    }

    /// Number of descriptors that the broker has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// Anonymous memory that the broker has in RAM, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
