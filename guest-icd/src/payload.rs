//! The state of semaphores and fences that other processes share: a page that these, the host's sessions and this guest map.
//! Its descriptor is the handle that passes between processes.

use std::os::fd::{AsFd as _, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use ash::vk;
use vw_transport::Payload;
use vw_transport::payload::Kind;
use vw_wire_protocol::record::op;

use crate::external_memory::take_over;
use crate::physical_device::DeviceFacts;
use crate::session::{Session, lock};

/// A payload that the host knows.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The state.
    pub(crate) payload: Payload,
    /// Stands for it elsewhere.
    fd: OwnedFd,
    /// Its number on the wire.
    pub(crate) number: u64,
}

/// The payloads of a semaphore or fence, where they are not its own.
#[derive(Debug, Default)]
pub(crate) struct Payloads(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    permanent: Option<Arc<Shared>>,
    /// Counts before the other until it is used up.
    temporary: Option<Arc<Shared>>,
}

impl Payloads {
    /// Those of an object that was created to be exported, or of another one.
    pub(crate) fn new(permanent: Option<Arc<Shared>>) -> Self {
        Self(Mutex::new(Slots { permanent, temporary: None }))
    }

    /// The payload that counts.
    pub(crate) fn current(&self) -> Option<Arc<Shared>> {
        let slots = lock(&self.0);
        slots.temporary.as_ref().or(slots.permanent.as_ref()).map(Arc::clone)
    }

    /// Whether there is one.
    pub(crate) fn has_any(&self) -> bool {
        let slots = lock(&self.0);
        slots.temporary.is_some() || slots.permanent.is_some()
    }

    /// Takes the temporary payload away, so that the one before counts again.
    pub(crate) fn restore(&self) -> Option<Arc<Shared>> {
        lock(&self.0).temporary.take()
    }

    /// Replaces a payload, and returns what is not used any more.
    fn import(&self, shared: Arc<Shared>, temporary: bool) -> Option<Arc<Shared>> {
        let mut slots = lock(&self.0);
        if temporary { slots.temporary.replace(shared) } else { slots.permanent.replace(shared) }
    }
}

impl Session {
    /// Makes a payload for an object that is to be exported.
    pub(crate) fn make_payload(&self, kind: Kind, value: u64) -> Result<Arc<Shared>, vk::Result> {
        let (payload, fd) = Payload::create(kind, value).map_err(|_| vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        self.share(payload, fd)
    }

    /// Imports a payload into an object, and takes the program's descriptor over.
    ///
    /// # Safety
    /// `fd` must be a descriptor that the program gives away.
    pub(crate) unsafe fn import_payload(
        &self,
        kind: Kind,
        payloads: &Payloads,
        fd: RawFd,
        temporary: bool,
    ) -> vk::Result {
        let invalid = vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
        if fd < 0 {
            return invalid;
        }
        // SAFETY: the caller's promise.
        let own = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().ok();
        let attached = own.and_then(|own| Payload::attach(own).ok()).filter(|(payload, _)| payload.is(kind));
        let Some((payload, own)) = attached else { return invalid };
        match self.share(payload, own) {
            Ok(shared) => {
                self.unshare(payloads.import(shared, temporary));
                // SAFETY: the caller's promise.
                unsafe { take_over(fd) };
                vk::Result::SUCCESS
            }
            Err(result) => result,
        }
    }

    /// Tells the host of a payload.
    fn share(&self, payload: Payload, fd: OwnedFd) -> Result<Arc<Shared>, vk::Result> {
        if !self.facts().is_some_and(DeviceFacts::shares_sync) {
            return Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE);
        }
        let number = self.next_payload.fetch_add(1, Ordering::Relaxed);
        let told = self.call_with(Some(fd.as_fd()), op::ATTACH_PAYLOAD, &|w| w.put_u64(number), |r| {
            r.take_u32().map(|result| vk::Result::from_raw(result.cast_signed()))
        });
        match told {
            Ok(vk::Result::SUCCESS) => Ok(Arc::new(Shared { payload, fd, number })),
            _ => Err(vk::Result::ERROR_OUT_OF_HOST_MEMORY),
        }
    }

    /// Tells the host that no record will name a payload any more.
    pub(crate) fn unshare(&self, shared: Option<Arc<Shared>>) {
        if let Some(shared) = shared {
            // Without a host there is nothing to tell.
            let _ = self.send(op::DETACH_PAYLOAD, &|w| w.put_u64(shared.number));
        }
    }

    /// As [`Session::unshare`], for all payloads of an object that is destroyed.
    pub(crate) fn unshare_all(&self, payloads: &Payloads) {
        let Slots { permanent, temporary } = std::mem::take(&mut *lock(&payloads.0));
        self.unshare(permanent);
        self.unshare(temporary);
    }
}

/// A descriptor of the payload that counts, for the program.
pub(crate) fn export(payloads: &Payloads) -> Result<RawFd, vk::Result> {
    // The only reason that the specification names; also for what was not to be exported.
    let own = payloads.current().and_then(|shared| shared.fd.try_clone().ok());
    own.map(IntoRawFd::into_raw_fd).ok_or(vk::Result::ERROR_TOO_MANY_OBJECTS)
}
