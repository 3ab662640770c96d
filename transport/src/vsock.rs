//! Sockets between a virtual machine and the machine that it runs on (`vsock(7)`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, bind, listen, socket_with};

/// `VMADDR_CID_ANY`: of whatever machine.
const ANY: u32 = u32::MAX;

/// `struct sockaddr_vm` of `linux/vm_sockets.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketAddrVm {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    /// Flags and padding.
    zero: [u8; 4],
}

impl SocketAddrVm {
    pub(crate) fn new(cid: u32, port: u32) -> Self {
        Self { family: AddressFamily::VSOCK.as_raw(), reserved: 0, port, cid, zero: [0; 4] }
    }
}

// SAFETY: calls `f` with the address and size of a whole `sockaddr_vm`, which lives until `f` returns.
unsafe impl SocketAddrArg for SocketAddrVm {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

/// A socket that nobody is connected to.
pub(crate) fn socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// A listening socket for guests of any virtual machine.
#[derive(Debug)]
pub struct VsockListener {
    socket: OwnedFd,
    port: u32,
}

impl VsockListener {
    /// Listens at `port`. Needs the kernel's `vhost_vsock`.
    ///
    /// # Errors
    /// What the system says: without vsock `Unsupported` or `AddrNotAvailable`.
    pub fn bind(port: u32) -> io::Result<Self> {
        let socket = socket()?;
        bind(&socket, &SocketAddrVm::new(ANY, port))?;
        listen(&socket, 128)?;
        Ok(Self { socket, port })
    }

    /// Its port.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The next guest, and the CID of its machine. Never blocks.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if there is nobody.
    pub fn accept(&self) -> io::Result<(OwnedFd, u32)> {
        loop {
            match acceptfrom_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok((guest, from)) => {
                    let cid = from.map_or(ANY, |from| {
                        if from.address_family() != AddressFamily::VSOCK
                            || (from.addr_len() as usize) < size_of::<SocketAddrVm>()
                        {
                            return ANY;
                        }
                        // SAFETY: an address of this family is a `sockaddr_vm`, and so long; any bytes are one.
                        unsafe { from.as_ptr().cast::<SocketAddrVm>().read_unaligned() }.cid
                    });
                    return Ok((guest, cid));
                }
                // The guest left before it was served: the next one.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for VsockListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
