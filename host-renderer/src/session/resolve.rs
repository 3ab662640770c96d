//! Ids to handles while a record is decoded.

use vw_wire_protocol::codec::{HandleError, Resolve};
use vw_wire_protocol::generated::handles::HandleType;

use super::tables::{Object, Tables};
use crate::object::compiling::Compiling;

/// Resolves the ids of one record and notes what the executor needs to know about them.
#[derive(Debug)]
pub struct Resolver<'a> {
    tables: &'a mut Tables,
    /// What is created meanwhile.
    compiling: &'a mut Compiling,
    seen: Seen,
    /// When given, every object met, in order: for commands that destroy.
    touched: Option<&'a mut Vec<(HandleType, u64)>>,
}

/// What was met among the ids of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Number of the device that all objects belong to; 0 when none belongs to a device.
    pub device: u16,
    /// Id of the last queue met.
    pub queue: u64,
    /// Id of the last command or descriptor pool met.
    pub pool: u64,
    /// Id of the last device met.
    pub device_id: u64,
}

impl<'a> Resolver<'a> {
    /// A resolver of ids in `tables`.
    pub fn new(tables: &'a mut Tables, compiling: &'a mut Compiling) -> Self {
        Self { tables, compiling, seen: Seen::default(), touched: None }
    }

    /// A resolver that lists every object it meets in `touched`, those whose creation failed included.
    pub fn listing(
        tables: &'a mut Tables,
        compiling: &'a mut Compiling,
        touched: &'a mut Vec<(HandleType, u64)>,
    ) -> Self {
        touched.clear();
        Self { touched: Some(touched), ..Self::new(tables, compiling) }
    }

    /// What was met so far.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// An object that is being created is waited for.
    #[cold]
    fn settle(&mut self, ty: HandleType, id: u64) -> Option<Object> {
        let pending = ty == HandleType::Pipeline && self.compiling.settle_pipeline(self.tables, id);
        self.tables.object(ty, id).filter(|_| pending).copied()
    }
}

impl Resolve for Resolver<'_> {
    #[inline]
    fn resolve(&mut self, ty: HandleType, id: u64) -> Result<u64, HandleError> {
        let object = match self.tables.object(ty, id) {
            Some(object) => *object,
            None => self.settle(ty, id).ok_or(HandleError::Unknown)?,
        };
        // An object of one device in a command of another would be the driver's undefined behaviour.
        if object.device != self.seen.device && object.device != 0 {
            if self.seen.device != 0 {
                return Err(HandleError::Unknown);
            }
            self.seen.device = object.device;
        }
        match ty {
            HandleType::Device => self.seen.device_id = id,
            HandleType::Queue => self.seen.queue = id,
            HandleType::CommandPool | HandleType::DescriptorPool => self.seen.pool = id,
            _ => {}
        }
        if let Some(touched) = &mut self.touched {
            touched.push((ty, id));
        }
        if object.poisoned { Err(HandleError::Poisoned) } else { Ok(object.raw) }
    }
}
