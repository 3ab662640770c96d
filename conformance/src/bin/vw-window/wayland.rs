//! A window of a Wayland compositor. What it shows is seen in pictures of the whole screen, which Weston takes.

use std::fs::File;
use std::io::BufReader;
use std::process::Command;
use std::time::Duration;

use ash::{khr, vk};
use wayland_client::protocol::{wl_compositor, wl_registry, wl_surface};
use wayland_client::{Connection, Dispatch, EventQueue, Proxy as _, QueueHandle, delegate_noop};
use wayland_protocols::xdg::shell::client::{xdg_surface, xdg_toplevel, xdg_wm_base};

use crate::window::Window;

pub(crate) struct WaylandWindow {
    connection: Connection,
    queue: EventQueue<Shell>,
    shell: Shell,
    surface: wl_surface::WlSurface,
    role: xdg_surface::XdgSurface,
    toplevel: xdg_toplevel::XdgToplevel,
    size: vk::Extent2D,
}

/// What the compositor has, and whether the window may be drawn.
#[derive(Default)]
struct Shell {
    compositor: Option<wl_compositor::WlCompositor>,
    base: Option<xdg_wm_base::XdgWmBase>,
    configured: bool,
}

impl Dispatch<wl_registry::WlRegistry, ()> for Shell {
    fn event(
        this: &mut Self,
        registry: &wl_registry::WlRegistry,
        event: wl_registry::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<Self>,
    ) {
        let wl_registry::Event::Global { name, interface, .. } = event else { return };
        match interface.as_str() {
            "wl_compositor" => this.compositor = Some(registry.bind(name, 4, handle, ())),
            "xdg_wm_base" => this.base = Some(registry.bind(name, 1, handle, ())),
            _ => {}
        }
    }
}

impl Dispatch<xdg_wm_base::XdgWmBase, ()> for Shell {
    fn event(
        _: &mut Self,
        base: &xdg_wm_base::XdgWmBase,
        event: xdg_wm_base::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_wm_base::Event::Ping { serial } = event {
            base.pong(serial);
        }
    }
}

impl Dispatch<xdg_surface::XdgSurface, ()> for Shell {
    fn event(
        this: &mut Self,
        surface: &xdg_surface::XdgSurface,
        event: xdg_surface::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_surface::Event::Configure { serial } = event {
            surface.ack_configure(serial);
            this.configured = true;
        }
    }
}

delegate_noop!(Shell: wl_compositor::WlCompositor);
delegate_noop!(Shell: ignore wl_surface::WlSurface);
delegate_noop!(Shell: ignore xdg_toplevel::XdgToplevel);

impl WaylandWindow {
    pub(crate) fn open(width: u16, height: u16) -> Self {
        let connection = Connection::connect_to_env().expect("a Wayland compositor");
        let (mut queue, mut shell) = (connection.new_event_queue(), Shell::default());
        let handle = queue.handle();
        connection.display().get_registry(&handle, ());
        queue.roundtrip(&mut shell).unwrap();
        let surface = shell.compositor.as_ref().unwrap().create_surface(&handle, ());
        let role = shell.base.as_ref().unwrap().get_xdg_surface(&surface, &handle, ());
        let toplevel = role.get_toplevel(&handle, ());
        surface.commit();
        while !shell.configured {
            queue.blocking_dispatch(&mut shell).unwrap();
        }
        let size = vk::Extent2D { width: width.into(), height: height.into() };
        Self { connection, queue, shell, surface, role, toplevel, size }
    }
}

impl Window for WaylandWindow {
    unsafe fn surface(
        &self,
        entry: &ash::Entry,
        instance: &ash::Instance,
        physical: vk::PhysicalDevice,
    ) -> vk::SurfaceKHR {
        let functions = khr::wayland_surface::Instance::new(entry, instance);
        let display: *mut vk::wl_display = self.connection.backend().display_ptr().cast();
        assert!(functions.get_physical_device_wayland_presentation_support(physical, 0, &mut *display));
        let surface = self.surface.id().as_ptr();
        let info = vk::WaylandSurfaceCreateInfoKHR::default().display(display).surface(surface.cast());
        functions.create_wayland_surface(&info, None).unwrap()
    }

    fn size(&self) -> vk::Extent2D {
        self.size
    }

    fn resize(&mut self, width: u32, height: u32) {
        self.size = vk::Extent2D { width, height };
    }

    fn hide(&self) {
        self.surface.attach(None, 0, 0);
        self.surface.commit();
        self.connection.roundtrip().unwrap();
    }

    fn show(&self) {
        // With the next frame.
    }

    fn destroy(&self) {
        self.toplevel.destroy();
        self.role.destroy();
        self.surface.destroy();
        self.connection.roundtrip().unwrap();
    }

    fn shows(&mut self, extent: vk::Extent2D, drawn: &[u8]) -> bool {
        // Also answers the compositor, should it ask whether anybody is there.
        self.queue.roundtrip(&mut self.shell).unwrap();
        let folder = std::env::temp_dir().join(format!("vw-window-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut taken = Command::new("weston-screenshooter").current_dir(&folder).spawn().unwrap();
        // It waits for something to change on the screen.
        let status = loop {
            if let Some(status) = taken.try_wait().unwrap() {
                break status;
            }
            self.surface.damage(0, 0, i32::MAX, i32::MAX);
            self.surface.commit();
            self.queue.roundtrip(&mut self.shell).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "the package weston (`cargo xtask setup`)");
        let path = std::fs::read_dir(&folder).unwrap().filter_map(|entry| Some(entry.ok()?.path())).next();
        let mut reader =
            png::Decoder::new(BufReader::new(File::open(path.unwrap()).unwrap())).read_info().unwrap();
        let mut screen = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut screen).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let texel = info.color_type.samples();
        let (width, height) = (extent.width as usize, extent.height as usize);
        let (across, down) = (info.width as usize, info.height as usize);
        // The compositor has put the window anywhere.
        let pixel = |x: usize, y: usize| {
            let at = (y * across + x) * texel;
            [screen[at + 2], screen[at + 1], screen[at]]
        };
        let equal = |left: usize, top: usize| {
            let place = |i: usize| pixel(left + i % width, top + i / width);
            drawn.chunks_exact(4).enumerate().all(|(i, drawn)| place(i) == drawn[..3])
        };
        (0..=down - height).any(|top| (0..=across - width).any(|left| equal(left, top)))
    }
}
