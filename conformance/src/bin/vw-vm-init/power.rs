//! The end of the machine.

use std::time::Duration;

#[cfg(target_arch = "x86_64")]
/// The port of QEMU's `isa-debug-exit`, whose exit code is twice what is written and one more.
const PORT: u16 = 0xf4;

/// Ends the machine.
pub(crate) fn end(code: u8) -> ! {
    write(code);
    // The machine stops some instructions later; where it has no such port, its limit ends it.
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[cfg(target_arch = "x86_64")]
fn write(code: u8) {
    // SAFETY: ioperm lets this process, which is root, write to the ports that are named, and changes nothing else.
    let allowed = unsafe { libc::ioperm(u64::from(PORT), 4, 1) } == 0;
    if allowed {
        // SAFETY: the port was just opened; the write has no effect on memory, registers or flags.
        unsafe {
            std::arch::asm!("out dx, al", in("dx") PORT, in("al") code, options(nomem, nostack, preserves_flags));
        };
    }
}

/// Other machines have no ports.
#[cfg(not(target_arch = "x86_64"))]
fn write(_code: u8) {}
