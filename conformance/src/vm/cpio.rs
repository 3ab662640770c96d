//! The archive that a kernel unpacks as its first file system: cpio in the form `newc`, not compressed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// Types of files, in the upper bits of a mode.
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// A tree of files that grows. Folders are made as files need them; a path that is there already stays as it is.
#[derive(Debug, Default)]
pub struct Archive {
    entries: Vec<Entry>,
    paths: BTreeSet<String>,
}

#[derive(Debug)]
struct Entry {
    path: String,
    /// Type and permissions.
    mode: u32,
    /// Numbers of a device.
    device: (u32, u32),
    contents: Vec<u8>,
}

impl Archive {
    /// A file at a path without a leading slash, with permissions (`0o755`, say).
    pub fn file(&mut self, path: &str, permissions: u32, contents: Vec<u8>) {
        self.entry(path, FILE | permissions, (0, 0), contents);
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes().to_vec());
    }

    /// An empty folder.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER | 0o755, (0, 0), Vec::new());
    }

    /// A character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), Vec::new());
    }

    /// Whether there is something at a path.
    pub fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// The whole, as the kernel reads it.
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (i, entry) in self.entries.iter().enumerate() {
            entry.write(i + 1, &mut bytes);
        }
        let trailer = Entry { path: "TRAILER!!!".to_owned(), mode: 0, device: (0, 0), contents: Vec::new() };
        trailer.write(0, &mut bytes);
        bytes
    }

    /// The files in a folder, where a container has them; devices are left out, which containers get otherwise.
    ///
    /// # Errors
    /// What the system says.
    pub fn unpack(&self, folder: &Path) -> io::Result<()> {
        for entry in &self.entries {
            let path = folder.join(&entry.path);
            match entry.mode & 0o170_000 {
                FOLDER => fs::create_dir_all(&path)?,
                LINK => symlink(String::from_utf8_lossy(&entry.contents).as_ref(), &path)?,
                FILE => {
                    fs::write(&path, &entry.contents)?;
                    fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode & 0o777))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), contents: Vec<u8>) {
        if let Some((parent, _)) = path.rsplit_once('/')
            && !self.has(parent)
        {
            self.folder(parent);
        }
        if self.paths.insert(path.to_owned()) {
            self.entries.push(Entry { path: path.to_owned(), mode, device, contents });
        }
    }
}

impl Entry {
    /// Appends it; each has a number of its own, or the kernel takes two for hard links.
    fn write(&self, number: usize, bytes: &mut Vec<u8>) {
        let (major, minor) = self.device;
        let (length, name) = (self.contents.len(), self.path.len() + 1);
        let header =
            [number, self.mode as usize, 0, 0, 1, 0, length, 0, 0, major as usize, minor as usize, name, 0];
        bytes.extend_from_slice(b"070701");
        for field in header {
            bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        bytes.extend_from_slice(self.path.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(&self.contents);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_when_written_has_folders_before_files_and_ends_with_a_trailer() {
        let mut archive = Archive::default();
        archive.file("a/b/c", 0o644, b"hello".to_vec());
        archive.file("a/b/c", 0o644, b"again".to_vec());
        archive.device("dev/console", 5, 1);
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name}"));
        assert!(at("a\0") < at("a/b\0") && at("a/b\0") < at("a/b/c\0"));
        assert!(text.contains("hello") && !text.contains("again"));
        assert!(at("TRAILER!!!") > at("dev/console\0"));
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(text.matches("070701").count(), 6);
    }
}
