//! Calls commands by their tables, for a renderer with `--null`, which executes none of them: `vw-every-command NAME...`
//!
//! Arguments are what the tables allow at the least: one element in each array, structures of zeros with their `sType`,
//! objects that commands called before have created. Each name is printed when its call has returned.

// Every call is one of the driver's entry points, made by its table; the null executor looks at no argument.
#![allow(unsafe_op_in_unsafe_fn)]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::ffi::CString;

use ash::vk::{self, Handle};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::{Command, Count, Dir, Elem, Op, Pointer, Ret};

/// Bytes that any one element takes at most.
const ELEMENT: usize = 4096;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    // SAFETY: see above.
    unsafe { Caller::open().call_all(&names) };
}

struct Caller {
    /// Keeps the loader's library.
    entry: ash::Entry,
    instance: ash::Instance,
    device: ash::Device,
    /// A live object of each type: the handle, as it stands in memory.
    objects: HashMap<HandleType, u64>,
    /// Arguments live as long as the program.
    memory: Vec<Box<[u64; ELEMENT / 8]>>,
}

impl Caller {
    /// A device with every extension, and a command buffer that is being recorded.
    unsafe fn open() -> Self {
        let entry = ash::Entry::load().expect("the Vulkan loader");
        let application = vk::ApplicationInfo::default().api_version(vk::make_api_version(0, 1, 4, 0));
        // Commands of a device that an extension of the instance brings.
        let enabled = [ash::ext::debug_utils::NAME.as_ptr()];
        let info = vk::InstanceCreateInfo::default()
            .application_info(&application)
            .enabled_extension_names(&enabled);
        let instance = entry.create_instance(&info, None).expect("an instance");
        let physical = instance.enumerate_physical_devices().expect("devices")[0];
        let offered = instance.enumerate_device_extension_properties(physical).expect("extensions");
        let offered: Vec<CString> =
            offered.iter().map(|e| e.extension_name_as_c_str().unwrap().to_owned()).collect();
        offered.iter().for_each(|name| println!("offered: {}", name.to_str().unwrap()));
        let names: Vec<_> = offered.iter().map(|name| name.as_ptr()).collect();
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
        let info =
            vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&names);
        let device = instance.create_device(physical, &info, None).expect("a device with all extensions");
        let pool = device.create_command_pool(&vk::CommandPoolCreateInfo::default(), None).unwrap();
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        let buffer = device.allocate_command_buffers(&info).unwrap()[0];
        device.begin_command_buffer(buffer, &vk::CommandBufferBeginInfo::default()).unwrap();
        let objects = HashMap::from([
            (HandleType::Instance, instance.handle().as_raw()),
            (HandleType::PhysicalDevice, physical.as_raw()),
            (HandleType::Device, device.handle().as_raw()),
            (HandleType::Queue, device.get_device_queue(0, 0).as_raw()),
            (HandleType::CommandBuffer, buffer.as_raw()),
        ]);
        Self { entry, instance, device, objects, memory: Vec::new() }
    }

    unsafe fn call_all(&mut self, names: &[String]) {
        let wanted = commands::ALL.into_iter().filter(|command| names.iter().any(|n| n == command.name));
        // What creates comes first, what destroys last.
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_by_key(|command| (!creates(command), command.name.starts_with("vkDestroy")));
        for command in wanted {
            if command.name.starts_with("vkDestroy") {
                self.have_one(command);
            }
            if self.call(command) {
                println!("called: {}", command.name);
            }
        }
        let buffer = vk::CommandBuffer::from_raw(self.objects[&HandleType::CommandBuffer]);
        self.device.end_command_buffer(buffer).expect("the recording ends");
        let submit = [buffer];
        let submit = [vk::SubmitInfo::default().command_buffers(&submit)];
        let queue = vk::Queue::from_raw(self.objects[&HandleType::Queue]);
        self.device.queue_submit(queue, &submit, vk::Fence::null()).expect("a submission");
        self.device.device_wait_idle().expect("a session that goes on");
    }

    /// Creates what a command destroys, if no command has yet.
    unsafe fn have_one(&mut self, destroys: &Command) {
        let handle = destroys.params.iter().find_map(|op| match op {
            Op::Handle { off, ty, .. } if *off == 8 => Some(*ty),
            _ => None,
        });
        let Some(ty) = handle.filter(|ty| !self.objects.contains_key(ty)) else { return };
        let creator = commands::ALL.into_iter().find(|command| created(command) == Some(ty));
        if let Some(creator) = creator {
            self.call(creator);
        }
    }

    /// False when no device or instance has the command.
    unsafe fn call(&mut self, command: &'static Command) -> bool {
        let name = CString::new(command.name).unwrap();
        let of_device = (self.instance.fp_v1_0().get_device_proc_addr)(self.device.handle(), name.as_ptr());
        // Commands of the physical device come from the instance, through the loader; the rest is asked of the device.
        let found =
            of_device.or_else(|| self.entry.get_instance_proc_addr(self.instance.handle(), name.as_ptr()));
        let Some(function) = found else { return false };
        let mut args = vec![0_u64; usize::from(command.param_count)];
        let base = args.as_mut_ptr().cast::<u8>();
        for op in command.params {
            match op {
                Op::Handle { off, ty, .. } => {
                    self.put(base, *off, self.objects.get(ty).copied().unwrap_or(0));
                }
                Op::Pointer(pointer) => self.point(base, pointer),
                _ => {}
            }
        }
        let result = (command.invoke)(function, &args);
        assert!(command.ret != Ret::Result || result as i64 >= 0, "{}: {result:#x}", command.name);
        if let (Some(ty), Some(at)) = (created(command), new_handle(command)) {
            let handle = (args[at] as *const u64).read();
            self.objects.insert(ty, handle);
        }
        if command.name.starts_with("vkDestroy") {
            self.objects.retain(|_, handle| *handle != args[1]);
        }
        true
    }

    /// One element behind a pointer, or what the table says.
    unsafe fn point(&mut self, base: *mut u8, pointer: &'static Pointer) {
        if let Count::Field { off, size } = pointer.count {
            let count = 1_u64.to_le_bytes();
            base.add(off.into()).copy_from_nonoverlapping(count.as_ptr(), size.into());
        }
        let element = self.zeros();
        match pointer.elem {
            Elem::Struct(desc) => {
                assert!(desc.size as usize <= ELEMENT);
                if let Some(s_type) = desc.s_type {
                    element.cast::<i32>().write(s_type);
                }
                // Sizes and the like that a structure points to.
                for op in desc.ops {
                    if let Op::Pointer(Pointer { off, elem: Elem::Bytes { .. }, count: Count::One, .. }) = op
                    {
                        let inner = self.zeros();
                        self.put(element.cast(), *off, inner as u64);
                    }
                }
            }
            Elem::Handle { ty, .. } if pointer.dir != Dir::New => {
                element.write(self.objects.get(&ty).copied().unwrap_or(0));
            }
            // Arrays of pointers: each to zeros.
            Elem::Pointers { .. } | Elem::Strings => {
                let inner = self.zeros();
                element.write(inner as u64);
            }
            _ => {}
        }
        if let Elem::Strided { stride, size, .. } = pointer.elem {
            base.add(stride.into()).cast::<u32>().write(size);
        }
        self.put(base, pointer.off, element as u64);
    }

    fn zeros(&mut self) -> *mut u64 {
        self.memory.push(Box::new([0; ELEMENT / 8]));
        self.memory.last_mut().unwrap().as_mut_ptr()
    }

    unsafe fn put(&self, base: *mut u8, off: u16, value: u64) {
        base.add(off.into()).cast::<u64>().write(value);
    }
}

fn new_pointer(command: &Command) -> Option<(&Pointer, HandleType)> {
    command.params.iter().find_map(|op| match op {
        Op::Pointer(pointer) if pointer.dir == Dir::New => match pointer.elem {
            Elem::Handle { ty, .. } => Some((pointer, ty)),
            _ => None,
        },
        _ => None,
    })
}

/// Type of what a command creates.
fn created(command: &Command) -> Option<HandleType> {
    new_pointer(command).map(|(_, ty)| ty)
}

/// The argument that points to the new handle.
fn new_handle(command: &Command) -> Option<usize> {
    new_pointer(command).map(|(pointer, _)| usize::from(pointer.off) / 8)
}

fn creates(command: &Command) -> bool {
    created(command).is_some()
}
