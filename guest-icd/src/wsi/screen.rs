//! What shows the pages of a swapchain's images.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use ash::vk;
use rustix::event::{PollFd, PollFlags, Timespec};

/// Something that pages are shown on.
pub(crate) trait Screen: Send + Sync {
    /// Whether the window system keeps the time of `VK_PRESENT_MODE_FIFO_KHR` and its like; otherwise the
    /// swapchain's thread does.
    fn keeps_time(&self) -> bool;

    /// Whether frames that are not to be waited for (`VK_PRESENT_MODE_MAILBOX_KHR`, `VK_PRESENT_MODE_IMMEDIATE_KHR`) may
    /// replace each other before they are shown.
    fn replaces(&self) -> bool {
        false
    }

    /// Has a frame shown. One thread at a time calls it.
    ///
    /// # Errors
    /// What commands of the swapchain return from now on.
    fn show(&self, frame: &Frame<'_>) -> Result<Showing, vk::Result>;

    /// Waits for news: until there are some, or `wake` can be read, or the time is up. One thread at a time calls it.
    fn listen(&self, wake: BorrowedFd<'_>, deadline: Option<Instant>) -> Vec<News>;

    /// The news that are there. Beside any other call.
    fn news(&self) -> Vec<News>;
}

/// A frame that is finished.
pub(crate) struct Frame<'a> {
    /// Its number, counted from 1 in its swapchain.
    pub(crate) serial: u64,
    /// The image.
    pub(crate) image: u32,
    /// When it is to be seen.
    pub(crate) mode: vk::PresentModeKHR,
    /// What has changed since the last frame; nothing stands for everything.
    pub(crate) damage: &'a [vk::Rect2D],
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Showing {
    /// It was taken: its pages are free again.
    Taken,
    /// News will say.
    Pending,
}

/// What a window system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// The pages of an image are free again.
    Released(u32),
    /// The frame of this number is seen, or never will be; and so are all before it.
    Seen(u64),
    /// The window's size is another one than the images'.
    Resized(bool),
    /// Nothing can be shown any more.
    Gone(vk::Result),
}

/// Waits until one of the descriptors can be read or the time is up; whether it is the first.
pub(crate) fn poll(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> bool {
    let mut polled: Vec<_> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    // An interruption is as good as a wake: who waits looks again.
    let _ = rustix::event::poll(&mut polled, left.as_ref());
    polled.first().is_some_and(|first| !first.revents().is_empty())
}
