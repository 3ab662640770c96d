//! `VK_EXT_headless_surface`: frames that nobody sees.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use ash::vk;

use super::screen::{Frame, News, Screen, Showing, poll};

/// Nothing.
pub(crate) struct Headless;

impl Screen for Headless {
    fn keeps_time(&self) -> bool {
        false
    }

    fn replaces(&self) -> bool {
        true
    }

    fn show(&self, _: &Frame<'_>) -> Result<Showing, vk::Result> {
        Ok(Showing::Taken)
    }

    fn listen(&self, wake: BorrowedFd<'_>, deadline: Option<Instant>) -> Vec<News> {
        poll(&[wake], deadline);
        Vec::new()
    }

    fn news(&self) -> Vec<News> {
        Vec::new()
    }
}
