//! What the tests over a real socket share.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use vw_transport::{Grant, Hello, Limits, Offer, Versions};

pub(crate) const VERSIONS: Versions = Versions::new(309, 0xfeed_beef);

/// A directory that goes with its owner.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vw-transport-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("vw.sock")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn hello() -> Hello {
    Hello::new(VERSIONS, "a test")
}

pub(crate) fn small() -> Limits {
    Limits {
        ring_size: 64 << 10,
        reply_size: 64 << 10,
        arena_size: 64 << 10,
        window_size: 1 << 20,
        ..Limits::default()
    }
}

pub(crate) fn offer() -> Offer {
    Offer { memory: Grant::Passed, limits: small(), features: 0, host: "test host 1.0".into() }
}
