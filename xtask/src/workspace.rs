//! Where things lie.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folders of this checkout.
pub(crate) struct Workspace {
    /// The folder of the root Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The checkout that this program was built from.
    pub(crate) fn locate() -> Self {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf);
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |t| root.join(t));
        Self { root, target }
    }

    /// A `cargo` command of the toolchain in use, in the root folder.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        // Set by `cargo run` for this process; children are about other packages.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
            command.env_remove(name);
        }
        if let Some(sysroot) = self.sysroot() {
            command.env("VW_GUEST_SYSROOT", sysroot);
        }
        command
    }

    /// The older C library that the guest's programs are linked against, where set-up has it (`guest-icd/build.rs`).
    pub(crate) fn sysroot(&self) -> Option<PathBuf> {
        let folder = self.setup().join("libc");
        folder.join("installed").is_file().then(|| folder.join("root"))
    }

    /// Where release programs and libraries are.
    pub(crate) fn release(&self) -> PathBuf {
        self.target.join("release")
    }

    /// What set-up unpacks: the Python environment and the second Mesa. The tests look here too.
    pub(crate) fn setup(&self) -> PathBuf {
        self.root.join("target/setup")
    }
}
