//! The file of notes, and the instructions that write them.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

use crate::Function;

/// Bytes of a note: whether the command was called, then its name and zeros. `vw_conformance::coverage` reads the same.
const NOTE: usize = 128;

/// Bytes of the instructions for one command.
const CODE: usize = 32;

/// Names that a process may look up.
const NAMES: usize = 4096;

/// What was handed out.
struct Notes {
    /// The mapped file.
    file: NonNull<u8>,
    /// Memory that may be executed.
    code: NonNull<u8>,
    /// Notes by name.
    names: HashMap<Vec<u8>, usize>,
    /// Instructions by note and by what they lead to.
    entries: HashMap<(usize, usize), Function>,
}

// SAFETY: the memory behind the pointers is mapped for good and belongs to whoever holds the lock.
unsafe impl Send for Notes {}

fn notes() -> Option<MutexGuard<'static, Notes>> {
    static NOTES: OnceLock<Option<Mutex<Notes>>> = OnceLock::new();
    let notes = NOTES.get_or_init(|| Notes::open().map(Mutex::new)).as_ref()?;
    Some(notes.lock().unwrap_or_else(PoisonError::into_inner))
}

/// An entry point that notes a call of `name` and goes on at `target`. `None` when no note can be taken: a command
/// that is not counted must not pass for one that is.
pub(crate) fn noting(name: &CStr, target: Function) -> Option<Function> {
    notes()?.entry(name.to_bytes(), target)
}

impl Notes {
    fn open() -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os("VW_COUNTS")?);
        let path = folder.join(std::process::id().to_string());
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).ok()?;
        file.set_len((NAMES * NOTE) as u64).ok()?;
        let (read, write, execute) = (ProtFlags::READ, ProtFlags::WRITE, ProtFlags::EXEC);
        // SAFETY: new mappings, at addresses that the system chooses.
        let (notes, code) = unsafe {
            (
                mmap(std::ptr::null_mut(), NAMES * NOTE, read | write, MapFlags::SHARED, &file, 0).ok()?,
                mmap_anonymous(std::ptr::null_mut(), NAMES * CODE, read | write | execute, MapFlags::PRIVATE)
                    .ok()?,
            )
        };
        Some(Self {
            file: NonNull::new(notes.cast())?,
            code: NonNull::new(code.cast())?,
            names: HashMap::new(),
            entries: HashMap::new(),
        })
    }

    fn entry(&mut self, name: &[u8], target: Function) -> Option<Function> {
        let next = self.names.len();
        let note = *self.names.entry(name.to_vec()).or_insert(next);
        let key = (note, target as usize);
        if let Some(known) = self.entries.get(&key) {
            return Some(*known);
        }
        let number = self.entries.len();
        if note >= NAMES || number >= NAMES || name.len() > NOTE - 2 {
            return None;
        }
        // SAFETY: both lie within their mappings; the instructions are complete before anybody knows of them, and this
        // processor sees written instructions without further ado.
        let entry = unsafe {
            let flag = self.file.as_ptr().add(note * NOTE);
            name.as_ptr().copy_to_nonoverlapping(flag.add(1), name.len());
            let code = self.code.as_ptr().add(number * CODE);
            let instructions = instructions(flag as u64, target as usize as u64);
            instructions.as_ptr().copy_to_nonoverlapping(code, CODE);
            std::mem::transmute::<*mut u8, Function>(code)
        };
        self.entries.insert(key, entry);
        Some(entry)
    }
}

/// `r11` may be used between caller and callee. `mov r11, flag; mov byte [r11], 1; mov r11, target; jmp r11`
fn instructions(flag: u64, target: u64) -> [u8; CODE] {
    let mut code = [0xCC; CODE];
    code[..2].copy_from_slice(&[0x49, 0xBB]);
    code[2..10].copy_from_slice(&flag.to_le_bytes());
    code[10..14].copy_from_slice(&[0x41, 0xC6, 0x03, 0x01]);
    code[14..16].copy_from_slice(&[0x49, 0xBB]);
    code[16..24].copy_from_slice(&target.to_le_bytes());
    code[24..27].copy_from_slice(&[0x41, 0xFF, 0xE3]);
    code
}
