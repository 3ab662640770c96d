//! An X server without a screen, for programs that want a window.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::{Result, doing, products};

/// An `Xvfb` that runs; killed when dropped.
pub struct Display {
    server: Child,
    /// As in the variable `DISPLAY`.
    pub name: String,
}

impl Display {
    /// Starts one on the first number that is free.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one with more arguments.
    ///
    /// # Errors
    /// As [`Display::start`].
    pub fn start_with(arguments: &[&str]) -> Result<Self> {
        products::installed("xvfb")?;
        // It writes its number to descriptor 1 when programs may connect.
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(doing("starting Xvfb"))?;
        let mut number = String::new();
        if let Some(output) = server.stdout.take() {
            BufReader::new(output)
                .read_line(&mut number)
                .map_err(doing("reading the number of the display"))?;
        }
        Ok(Self { server, name: format!(":{}", number.trim()) })
    }

    /// Ends it at once, whoever uses it.
    pub fn kill(&mut self) {
        // Gone already is as good.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.kill();
    }
}
