//! Virtual machines as guests: a real kernel under QEMU, the guest package unpacked in its initramfs, programs run there.
//!
//! [`image`] puts the initramfs together ([`cpio`] writes it, [`modules`] picks what the kernel has to load), [`job`] says what is
//! to be run and carries the answers back, [`machine`] starts QEMU and what belongs to it; [`installed`] is all of this as a user
//! would have it. In the guest `vw-vm-init` is
//! process 1. Everything comes from `target/setup/vm` (`xtask/src/vm.rs`); the system needs to have nothing of it.

pub mod cpio;
pub mod image;
pub mod installed;
pub mod job;
pub mod machine;
pub mod modules;
