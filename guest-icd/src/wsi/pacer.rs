//! Who has which image, and when it is shown: the state of a swapchain, and the thread that shows its frames.
//!
//! Nothing is polled. Who waits for something of the window system listens to it himself, one thread at a time, so that
//! a program that waits for an image is woken by the system that releases it.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ash::vk;
use rustix::event::EventfdFlags;
use vw_wire_protocol::record::{MAX_SHOWN, op};

use crate::completion::{Point, Waited};
use crate::failure::Failure;
use crate::session::{Session, lock};

use super::present::PageCopy;
use super::screen::{Frame, News, Screen, Showing};

/// Time from one frame to the next where the window system keeps none.
const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / 60);

/// A frame that is not seen for so long is in a window that nobody sees.
const HIDDEN: Duration = Duration::from_secs(1);

/// Time between two frames where frames replace each other and nobody sees more: the host may look at what is shown.
const REFRESH: Duration = Duration::from_millis(4);

/// A frame on its way.
pub(crate) struct Job {
    /// The image.
    pub(crate) image: u32,
    /// When its pages are complete.
    pub(crate) point: Point,
    /// `VkPresentIdKHR`; 0 is none.
    pub(crate) id: u64,
    /// When it is to be seen.
    pub(crate) mode: vk::PresentModeKHR,
    /// What has changed; nothing stands for everything.
    pub(crate) damage: Vec<vk::Rect2D>,
    /// When the program has presented it.
    pub(crate) presented: Instant,
}

/// The state of a swapchain.
pub(crate) struct Pacer {
    session: Arc<Session>,
    screen: Box<dyn Screen>,
    state: Mutex<State>,
    changed: Condvar,
    /// Ends the wait of the one who listens.
    wake: OwnedFd,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    /// Images that can be acquired, in the order in which they were released.
    free: VecDeque<Free>,
    jobs: VecDeque<Job>,
    /// The image that is shown until another one replaces it, and when it is drawn.
    standing: Option<(u32, Point)>,
    /// How that image gets to its pages, as long as it is not there, and when the program has presented it.
    stale: Option<(PageCopy, Instant)>,
    /// The image that is being copied to its pages.
    copying: Option<u32>,
    /// The thread sleeps until there is something to show.
    idle: bool,
    /// How many frames were given to the screen.
    serial: u64,
    /// Those among them that are not seen yet.
    pending: VecDeque<Pending>,
    /// How long those took that were seen and of which the host was not told, in nanoseconds.
    shown: Vec<u64>,
    /// Highest `VkPresentIdKHR` that was seen.
    seen: u64,
    suboptimal: bool,
    /// Why nothing can be shown any more.
    fault: Option<vk::Result>,
    /// Another swapchain has taken its place.
    retired: bool,
    closing: bool,
    /// Somebody listens to the screen.
    listening: bool,
}

/// An image that is not in use.
struct Free {
    image: u32,
    /// When what was drawn last is: a program that waits for nothing else waits for this.
    drawn: Option<Point>,
}

impl From<u32> for Free {
    fn from(image: u32) -> Self {
        Self { image, drawn: None }
    }
}

/// A frame that is not seen yet.
struct Pending {
    serial: u64,
    /// `VkPresentIdKHR`.
    id: u64,
    presented: Instant,
}

/// What the thread does next.
enum Work {
    Show(Job),
    Refresh(u32, PageCopy, Instant),
}

impl State {
    /// The image is not shown any more.
    fn unstand(&mut self) {
        self.stale = None;
        if let Some((image, drawn)) = self.standing.take()
            && self.copying != Some(image)
        {
            self.free.push_back(Free { image, drawn: Some(drawn) });
        }
    }

    /// The next frame was given to the screen; its number.
    fn push(&mut self, id: u64, presented: Instant) -> u64 {
        self.serial += 1;
        self.pending.push_back(Pending { serial: self.serial, id, presented });
        self.serial
    }

    fn apply(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Released(image) => self.free.push_back(image.into()),
                News::Seen(serial) => self.seen(serial),
                News::Resized(differs) => self.suboptimal = differs,
                News::Gone(fault) => self.fault = self.fault.or(Some(fault)),
            }
        }
    }

    /// What a program is told that presents.
    fn result(&self) -> vk::Result {
        match self.fault {
            Some(fault) => fault,
            None if self.suboptimal => vk::Result::SUBOPTIMAL_KHR,
            None => vk::Result::SUCCESS,
        }
    }

    fn seen(&mut self, serial: u64) {
        while let Some(frame) = self.pending.front().filter(|frame| frame.serial <= serial) {
            self.seen = self.seen.max(frame.id);
            if self.shown.len() < MAX_SHOWN {
                let took = frame.presented.elapsed().as_nanos();
                self.shown.push(u64::try_from(took).unwrap_or(u64::MAX));
            }
            self.pending.pop_front();
        }
    }
}

impl Pacer {
    /// Starts the thread of a swapchain of `count` images, all free.
    ///
    /// # Errors
    /// No thread or descriptor can be had.
    pub(crate) fn start(
        session: &Arc<Session>,
        screen: Box<dyn Screen>,
        count: u32,
    ) -> Result<Arc<Self>, vk::Result> {
        let none = vk::Result::ERROR_OUT_OF_HOST_MEMORY;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let this = Arc::new(Self {
            session: Arc::clone(session),
            screen,
            state: Mutex::new(State {
                free: (0..count).map(Free::from).collect(),
                jobs: VecDeque::new(),
                standing: None,
                stale: None,
                copying: None,
                idle: false,
                serial: 0,
                pending: VecDeque::new(),
                shown: Vec::new(),
                seen: 0,
                suboptimal: false,
                fault: None,
                retired: false,
                closing: false,
                listening: false,
            }),
            changed: Condvar::new(),
            wake: rustix::event::eventfd(0, flags).map_err(|_| none)?,
            thread: Mutex::default(),
        });
        let pacer = Arc::clone(&this);
        let thread = std::thread::Builder::new().name("vw-present".to_owned());
        let thread = thread.spawn(move || pacer.run()).map_err(|_| none)?;
        *lock(&this.thread) = Some(thread);
        Ok(this)
    }

    /// An image, within `timeout` nanoseconds; `VK_SUBOPTIMAL_KHR` if it no longer fits the window.
    pub(crate) fn acquire(&self, timeout: u64) -> Result<(u32, vk::Result), vk::Result> {
        let deadline = deadline(timeout);
        let got = self.wait(deadline, |state| {
            if state.retired {
                return Some(Err(vk::Result::ERROR_OUT_OF_DATE_KHR));
            }
            if let Some(fault) = state.fault {
                return Some(Err(fault));
            }
            let fit = if state.suboptimal { vk::Result::SUBOPTIMAL_KHR } else { vk::Result::SUCCESS };
            let drawn = |free: &Free| free.drawn.is_none_or(|point| self.session.reached(point));
            let first = state.free.iter().position(drawn).unwrap_or(0);
            state.free.remove(first).map(|free| Ok((free, fit)))
        });
        let late = if timeout == 0 { vk::Result::NOT_READY } else { vk::Result::TIMEOUT };
        let (free, fit) = got.unwrap_or(Err(late))?;
        let Some(point) = free.drawn else { return Ok((free.image, fit)) };
        let left = match deadline {
            Some(deadline) => deadline.saturating_duration_since(Instant::now()).as_nanos() as u64,
            None => u64::MAX,
        };
        match self.session.wait(left, || self.session.reached(point)) {
            Waited::Ready => Ok((free.image, fit)),
            Waited::TimedOut => {
                self.update(|state| state.free.push_front(free));
                Err(late)
            }
            Waited::Lost => Err(vk::Result::ERROR_DEVICE_LOST),
        }
    }

    /// Takes back an image that was acquired and is not presented.
    pub(crate) fn release(&self, image: u32) {
        self.update(|state| state.free.push_back(image.into()));
    }

    /// Takes over a frame; what the program is told of it.
    pub(crate) fn present(&self, job: Job) -> vk::Result {
        self.update(|state| {
            state.unstand();
            state.jobs.push_back(job);
            state.result()
        })
    }

    /// Whether frames of these modes replace each other: see [`Pacer::replace`].
    pub(crate) fn replaces(&self, mode: vk::PresentModeKHR) -> bool {
        let unpaced = matches!(mode, vk::PresentModeKHR::MAILBOX | vk::PresentModeKHR::IMMEDIATE);
        unpaced && self.screen.replaces()
    }

    /// Takes over a frame that is drawn at a point and replaces the one before; what the program is told of it. Of frames in
    /// quick succession only some are copied to their pages, and the last one is.
    pub(crate) fn replace(&self, image: u32, drawn: Point, copy: PageCopy, presented: Instant) -> vk::Result {
        let mut state = lock(&self.state);
        state.unstand();
        state.standing = Some((image, drawn));
        state.stale = Some((copy, presented));
        // The thread looks by itself when a frame is due.
        if state.idle || state.listening {
            self.tell(&state);
        }
        state.result()
    }

    /// Waits until a frame with this or a higher `VkPresentIdKHR` was seen.
    pub(crate) fn wait_for(&self, id: u64, timeout: u64) -> vk::Result {
        let done = self.wait(deadline(timeout), |state| {
            if state.seen >= id {
                return Some(vk::Result::SUCCESS);
            }
            state.fault
        });
        done.unwrap_or(vk::Result::TIMEOUT)
    }

    /// Tells the host how long it took until frames were seen.
    ///
    /// # Errors
    /// The host is gone.
    pub(crate) fn tell_shown(&self, session: &Session) -> Result<(), Failure> {
        let shown = std::mem::take(&mut lock(&self.state).shown);
        if shown.is_empty() {
            return Ok(());
        }
        let sent = session.send(op::SHOWN, &|w| {
            w.put_u32(shown.len() as u32);
            shown.iter().for_each(|took| w.put_u64(*took));
        });
        sent.map(|_| ())
    }

    /// No image is acquired from now on.
    pub(crate) fn retire(&self) {
        self.update(|state| state.retired = true);
    }

    /// Shows what is left without delay, and ends the thread: no copy is going on any more.
    pub(crate) fn close(&self) {
        self.update(|state| state.closing = true);
        if let Some(thread) = lock(&self.thread).take() {
            // It ends by itself; that it failed it has said.
            let _ = thread.join();
        }
    }

    /// Changes the state, and has everybody look at it.
    fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = lock(&self.state);
        let result = change(&mut state);
        self.tell(&state);
        result
    }

    fn tell(&self, state: &State) {
        if state.listening {
            // The counter being full is a wake too.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
        self.changed.notify_all();
    }

    /// Waits until `ready` says something, listening to the screen meanwhile.
    fn wait<R>(
        &self,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut State) -> Option<R>,
    ) -> Option<R> {
        let mut state = lock(&self.state);
        if let Some(result) = ready(&mut state) {
            return Some(result);
        }
        loop {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                // What is there already counts also for those who do not wait.
                state.apply(self.screen.news());
                self.tell(&state);
                return ready(&mut state);
            }
            if state.listening {
                state = self.sleep(state, deadline);
            } else {
                state.listening = true;
                drop(state);
                let news = self.screen.listen(self.wake.as_fd(), deadline);
                let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
                state = lock(&self.state);
                state.listening = false;
                state.apply(news);
                // Another one may have to listen now.
                self.changed.notify_all();
            }
            if let Some(result) = ready(&mut state) {
                return Some(result);
            }
        }
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, deadline: Option<Instant>) -> MutexGuard<'a, State> {
        match deadline {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// The thread.
    fn run(&self) {
        let mut clock = Clock::default();
        let mut refreshed = None;
        while let Some(work) = self.next(refreshed) {
            let done = match work {
                Work::Show(job) => self.finished(job.point).inspect(|()| self.show(&job, &mut clock)),
                Work::Refresh(image, copy, presented) => {
                    refreshed = Some(Instant::now());
                    self.refresh(image, &copy, presented)
                }
            };
            if let Err(fault) = done {
                self.update(|state| state.fault = Some(fault));
                return;
            }
        }
    }

    /// Waits for a submission.
    fn finished(&self, point: Point) -> Result<(), vk::Result> {
        match self.session.wait(u64::MAX, || self.session.reached(point)) {
            Waited::Ready => Ok(()),
            _ => Err(vk::Result::ERROR_DEVICE_LOST),
        }
    }

    /// The next frame; none when it is over. Nobody listens to the screen for that. The last one that was taken from
    /// those that replace each other was taken at `refreshed`.
    fn next(&self, refreshed: Option<Instant>) -> Option<Work> {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(Work::Show(job));
            }
            let due = refreshed.map(|refreshed| refreshed + REFRESH).filter(|due| *due > Instant::now());
            if due.is_none() || state.closing {
                if let Some((copy, presented)) = state.stale.take()
                    && let Some((image, _)) = state.standing
                {
                    state.copying = Some(image);
                    return Some(Work::Refresh(image, copy, presented));
                }
                if state.closing {
                    return None;
                }
            }
            let due = due.filter(|_| state.stale.is_some());
            state.idle = due.is_none();
            state = self.sleep(state, due);
            state.idle = false;
        }
    }

    /// Has the image that is shown copied to its pages.
    fn refresh(&self, image: u32, copy: &PageCopy, presented: Instant) -> Result<(), vk::Result> {
        copy.submit(&self.session).and_then(|point| self.finished(point))?;
        self.update(|state| {
            state.copying = None;
            if state.standing.is_none_or(|(standing, _)| standing != image) {
                state.free.push_back(image.into());
            }
            let serial = state.push(0, presented);
            state.seen(serial);
        });
        Ok(())
    }

    /// Shows a frame at its time.
    fn show(&self, job: &Job, clock: &mut Clock) {
        use vk::PresentModeKHR as Mode;
        if matches!(job.mode, Mode::FIFO | Mode::FIFO_RELAXED) {
            // In turn: the one before must have been seen, unless the window is hidden.
            self.wait(Instant::now().checked_add(HIDDEN), |state| {
                (state.pending.is_empty() || state.closing || state.fault.is_some()).then_some(())
            });
            if !self.screen.keeps_time() {
                let due = clock.due(Instant::now(), job.mode == Mode::FIFO_RELAXED);
                self.wait(Some(due), |state| (state.closing || state.fault.is_some()).then_some(()));
            }
        }
        let (serial, fault) = {
            let mut state = lock(&self.state);
            (state.push(job.id, job.presented), state.fault)
        };
        let frame = Frame { serial, image: job.image, mode: job.mode, damage: &job.damage };
        let shown = if fault.is_some() { Ok(Showing::Taken) } else { self.screen.show(&frame) };
        self.update(|state| {
            if shown != Ok(Showing::Pending) {
                state.free.push_back(job.image.into());
                state.seen(serial);
            }
            state.fault = state.fault.or(shown.err());
            state.apply(self.screen.news());
        });
    }
}

/// The end of a wait; none for ever.
fn deadline(timeout: u64) -> Option<Instant> {
    if timeout == u64::MAX { None } else { Instant::now().checked_add(Duration::from_nanos(timeout)) }
}

/// Time for window systems that keep none: a frame each [`PERIOD`].
#[derive(Default)]
struct Clock {
    /// When the last frame was due.
    last: Option<Instant>,
}

impl Clock {
    /// When a frame that is ready `now` is due. A late one waits for the next period unless `relaxed`.
    fn due(&mut self, now: Instant, relaxed: bool) -> Instant {
        let due = match self.last {
            None => now,
            Some(last) if last + PERIOD >= now => last + PERIOD,
            Some(_) if relaxed => now,
            Some(last) => {
                let periods = (now - last).as_nanos().div_ceil(PERIOD.as_nanos());
                last + PERIOD * u32::try_from(periods).unwrap_or(1)
            }
        };
        self.last = Some(due);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_when_frames_are_early_or_late_keeps_its_period() {
        let (mut clock, start) = (Clock::default(), Instant::now());
        assert_eq!(clock.due(start, false), start);
        assert_eq!(clock.due(start + PERIOD / 4, false), start + PERIOD);
        assert_eq!(clock.due(start + PERIOD * 5 / 2, false), start + PERIOD * 3, "a late one");
        let late = start + PERIOD * 9 / 2;
        assert_eq!(clock.due(late, true), late, "a late one that need not wait");
        let pause = start + PERIOD * 1000;
        assert!(clock.due(pause, false) >= pause);
    }
}
