//! `vw-viewer`: a window on the host that shows a session's frames as they come, with their rate and latency. The guest does
//! not notice: pictures are taken by the session's process when this program asks, and frames that come too fast are left
//! out.

mod pace;
mod paint;

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use softbuffer::{Context, Surface};
use vw_host_renderer::control::Socket;
use vw_host_renderer::control::{self, Pictures, SessionInfo};
use vw_host_renderer::frames::picture::Picture;
use vw_host_renderer::frames::surfaces::Number;
use winit::application::ApplicationHandler;
use winit::dpi::PhysicalSize;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, EventLoop, EventLoopProxy, OwnedDisplayHandle};
use winit::window::{Window, WindowId};

use self::pace::Pace;

/// Longest wait for a frame, after which it is asked again: guests may pause as long as they like.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// How often the title is brought up to date.
const TITLE_EVERY: Duration = Duration::from_millis(500);

/// Shows a session's frames in a window.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Where the renderer listens
    #[arg(long, value_name = "unix:PATH", default_value = "unix:/run/vw/vw.sock")]
    socket: Socket,
    /// The session's number; the newest by default
    session: Option<u64>,
    /// The surface's number, as `vwctl frames` lists them; by default the one that was presented to last
    #[arg(long)]
    surface: Option<Number>,
}

/// What the thread that asks for pictures tells.
#[derive(Debug)]
enum News {
    /// There is a new picture.
    Picture,
    /// There will be none any more.
    Over(io::Error),
}

/// The last picture, between the thread that asks for pictures and the window.
type Slot = Arc<Mutex<Option<Picture>>>;

struct Viewer {
    program: String,
    context: Context<OwnedDisplayHandle>,
    slot: Slot,
    shown: Option<Shown>,
    picture: Option<Picture>,
    pace: Pace,
    titled: Option<Instant>,
    /// Why it ended, unless somebody has closed the window.
    over: Option<io::Error>,
}

/// The window, once there is a picture.
struct Shown {
    window: Rc<Window>,
    surface: Surface<OwnedDisplayHandle, Rc<Window>>,
}

fn main() -> ExitCode {
    let Cli { socket: Socket(socket), session, surface } = Cli::parse();
    match view(&socket, session, surface) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vw-viewer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn view(
    socket: &Path,
    session: Option<u64>,
    surface: Option<Number>,
) -> Result<(), Box<dyn std::error::Error>> {
    let session = find(socket, session)?;
    let pictures = Pictures::of(socket, session.number, surface)?;
    let events = EventLoop::<News>::with_user_event().build()?;
    let context = Context::new(events.owned_display_handle())?;
    let (slot, proxy) = (Slot::default(), events.create_proxy());
    let filled = Arc::clone(&slot);
    thread::Builder::new().name("pictures".to_owned()).spawn(move || ask(pictures, &filled, &proxy))?;
    let mut viewer = Viewer {
        program: format!("{} ({})", session.program, session.number),
        context,
        slot,
        shown: None,
        picture: None,
        pace: Pace::default(),
        titled: None,
        over: None,
    };
    events.run_app(&mut viewer)?;
    match viewer.over {
        // The session's end is no fault.
        Some(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error.into()),
        _ => Ok(()),
    }
}

fn find(socket: &Path, session: Option<u64>) -> io::Result<SessionInfo> {
    let mut sessions = control::sessions(socket)?;
    let found = match session {
        Some(number) => sessions.into_iter().find(|session| session.number == number),
        None => sessions.pop(),
    };
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such session"))
}

/// Asks for one picture after the other, as fast as they come.
fn ask(mut pictures: Pictures, slot: &Slot, proxy: &EventLoopProxy<News>) {
    loop {
        let news = match pictures.next(PATIENCE) {
            Ok(picture) => {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(picture);
                News::Picture
            }
            Err(error) => News::Over(error),
        };
        let over = matches!(news, News::Over(_));
        if proxy.send_event(news).is_err() || over {
            return;
        }
    }
}

impl ApplicationHandler<News> for Viewer {
    fn resumed(&mut self, _: &ActiveEventLoop) {
        // The window is made when there is a picture, whose size it has.
    }

    fn user_event(&mut self, events: &ActiveEventLoop, news: News) {
        match news {
            News::Picture => {
                if let Some(picture) = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    self.pace.add(picture.serial, Instant::now());
                    self.picture = Some(picture);
                }
                self.show(events);
            }
            News::Over(error) => self.end(events, error),
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested => events.exit(),
            WindowEvent::RedrawRequested => {
                if let Err(error) = self.paint() {
                    self.end(events, io::Error::other(error.to_string()));
                }
            }
            WindowEvent::Resized(_) => self.show(events),
            _ => {}
        }
    }
}

impl Viewer {
    fn end(&mut self, events: &ActiveEventLoop, error: io::Error) {
        self.over = Some(error);
        events.exit();
    }

    /// Has the window show the picture; makes it first if need be.
    fn show(&mut self, events: &ActiveEventLoop) {
        let Some(picture) = &self.picture else { return };
        if self.shown.is_none() {
            match open(&self.context, events, picture) {
                Ok(shown) => self.shown = Some(shown),
                Err(error) => return self.end(events, io::Error::other(error.to_string())),
            }
        }
        let Some(Shown { window, .. }) = &self.shown else { return };
        window.request_redraw();
        if self.titled.is_none_or(|titled| titled.elapsed() >= TITLE_EVERY) {
            self.titled = Some(Instant::now());
            window.set_title(&title(&self.program, self.pace.rate(), picture));
        }
    }

    fn paint(&mut self) -> Result<(), softbuffer::SoftBufferError> {
        let (Some(Shown { window, surface }), Some(picture)) = (&mut self.shown, &self.picture) else {
            return Ok(());
        };
        let PhysicalSize { width, height } = window.inner_size();
        let (Some(across), Some(down)) = (NonZeroU32::new(width), NonZeroU32::new(height)) else {
            return Ok(());
        };
        surface.resize(across, down)?;
        let mut buffer = surface.buffer_mut()?;
        paint::fit(picture, &mut buffer, width as usize, height as usize);
        window.pre_present_notify();
        buffer.present()
    }
}

fn open(
    context: &Context<OwnedDisplayHandle>,
    events: &ActiveEventLoop,
    picture: &Picture,
) -> Result<Shown, Box<dyn std::error::Error>> {
    let size = PhysicalSize::new(picture.width, picture.height);
    let window = Rc::new(events.create_window(Window::default_attributes().with_inner_size(size))?);
    let surface = Surface::new(context, Rc::clone(&window))?;
    Ok(Shown { window, surface })
}

fn title(program: &str, rate: f64, picture: &Picture) -> String {
    let ms = |time: u64| time as f64 / 1e6;
    let shown =
        if picture.shown == 0 { String::new() } else { format!(", shown after {:.1} ms", ms(picture.shown)) };
    format!("{program}: {rate:.1} frames/s, done after {:.1} ms{shown}", ms(picture.done))
}

#[cfg(test)]
mod tests {
    use vw_host_renderer::frames::picture::Format;

    use super::*;

    #[test]
    fn title_when_nothing_is_known_of_showing_leaves_it_out() {
        let mut picture = Picture {
            serial: 1,
            surface: Number::MIN,
            width: 1,
            height: 1,
            format: Format::Bgra,
            done: 1_500_000,
            shown: 0,
            texels: vec![0; 4],
        };
        assert_eq!(title("cube (1)", 59.94, &picture), "cube (1): 59.9 frames/s, done after 1.5 ms");
        picture.shown = 20_000_000;
        assert!(title("", 1.0, &picture).ends_with("shown after 20.0 ms"));
    }
}
