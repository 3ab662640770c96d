//! What a decoded request consists of.

use super::MAX_PARAMS;
use super::error::HandleError;
use crate::generated::handles::HandleType;

/// Turns the ids of one session into the host's handles.
pub trait Resolve {
    /// The host's handle for `id`, which is not 0.
    fn resolve(&mut self, ty: HandleType, id: u64) -> Result<u64, HandleError>;
}

impl<R: Resolve + ?Sized> Resolve for &mut R {
    #[inline]
    fn resolve(&mut self, ty: HandleType, id: u64) -> Result<u64, HandleError> {
        (**self).resolve(ty, id)
    }
}

/// Knows no handle: for structures that hold none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHandles;

impl Resolve for NoHandles {
    fn resolve(&mut self, _: HandleType, _: u64) -> Result<u64, HandleError> {
        Err(HandleError::Unknown)
    }
}

/// An id and its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadHandle {
    /// Type that the field has.
    pub ty: HandleType,
    /// The id.
    pub id: u64,
}

/// Handles that a command creates.
#[derive(Debug, Clone, Copy)]
pub struct NewHandles<'m> {
    /// Their type.
    pub ty: HandleType,
    /// Ids that the guest assigned.
    pub ids: &'m [u64],
    /// As many host handles, null until the call has stored them: what the command's argument points to.
    pub raw: *mut u64,
}

impl NewHandles<'_> {
    /// Each id with the host's handle, 0 where none was created.
    pub fn created(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        // SAFETY: the decoder made `raw` with room for as many handles as there are ids, in the same arena.
        self.ids.iter().enumerate().map(|(i, id)| (*id, unsafe { self.raw.add(i).read() }))
    }
}

/// The handles that one command creates, by the pointer that they are behind.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewList<'m> {
    list: [Option<NewHandles<'m>>; NewList::CAPACITY],
    len: usize,
}

impl<'m> NewList<'m> {
    /// Most pointers of one command that create handles.
    pub const CAPACITY: usize = 2;

    /// False when there is no room, which no command of the tables causes.
    pub(crate) fn push(&mut self, new: NewHandles<'m>) -> bool {
        let Some(slot) = self.list.get_mut(self.len) else { return false };
        *slot = Some(new);
        self.len += 1;
        true
    }

    /// The handles of the pointer with this number.
    pub(crate) fn get(&self, index: usize) -> Option<&NewHandles<'m>> {
        self.list.get(index)?.as_ref()
    }

    /// The handles of each pointer, in order.
    pub fn iter(&self) -> impl Iterator<Item = &NewHandles<'m>> {
        self.list.iter().flatten()
    }

    /// Whether the command creates nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A decoded request, ready to be called.
///
/// Everything that the slots point to lies in the arena it was decoded with.
#[derive(Debug, Clone)]
pub struct Request<'m> {
    /// The arguments, one slot each, with the host's handles; see [`Invoke`](crate::schema::Invoke).
    pub args: [u64; MAX_PARAMS],
    /// Handles that the call creates.
    pub new: NewList<'m>,
    /// The first id met whose creation had failed; null stands in its place. The command must not be called, and
    /// what it creates is to be poisoned in turn.
    pub poisoned: Option<BadHandle>,
}
