//! Command buffers: whether they are being recorded, and whether they may run.

use std::collections::HashMap;

/// Where a command buffer is in its life, as far as the host tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Nothing recorded.
    #[default]
    Initial,
    /// Between `vkBeginCommandBuffer` and `vkEndCommandBuffer`.
    Recording,
    /// Recorded.
    Executable,
    /// Something that it needs does not exist: it must not run before it is recorded anew.
    Poisoned,
}

/// States of a session's command buffers, by the index part of their ids.
#[derive(Debug, Default)]
pub struct CommandBuffers {
    slots: Vec<Slot>,
    /// Why poisoned ones are.
    reasons: HashMap<u32, String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    state: State,
    /// The driver's command buffer was begun and not ended, also when it was poisoned in between.
    begun: bool,
}

impl CommandBuffers {
    /// The state of a live command buffer.
    pub fn state(&self, id: u64) -> State {
        self.slots.get(id as u32 as usize).copied().unwrap_or_default().state
    }

    /// Whether the driver's command buffer was begun and not ended.
    pub fn is_begun(&self, id: u64) -> bool {
        self.slots.get(id as u32 as usize).copied().unwrap_or_default().begun
    }

    /// The driver's command buffer is in this state now; not [`State::Poisoned`].
    pub fn set(&mut self, id: u64, state: State) {
        let slot = self.slot(id);
        let before = slot.state;
        *slot = Slot { state, begun: state == State::Recording };
        if before == State::Poisoned {
            self.reasons.remove(&(id as u32));
        }
    }

    /// The driver's command buffer was ended: it can run unless it is poisoned.
    pub fn end(&mut self, id: u64) {
        let slot = self.slot(id);
        slot.begun = false;
        if slot.state == State::Recording {
            slot.state = State::Executable;
        }
    }

    fn slot(&mut self, id: u64) -> &mut Slot {
        let index = id as u32 as usize;
        if self.slots.len() <= index {
            self.slots.resize(index + 1, Slot::default());
        }
        &mut self.slots[index]
    }

    /// Poisons a live command buffer. The first reason stays.
    pub fn poison(&mut self, id: u64, reason: String) {
        if self.state(id) == State::Poisoned {
            return;
        }
        tracing::warn!(command_buffer = format_args!("{id:#x}"), "command buffer poisoned: {reason}");
        self.slot(id).state = State::Poisoned;
        self.reasons.insert(id as u32, reason);
    }

    /// Why a command buffer may not run; `None` if it may.
    pub fn unfit(&self, id: u64) -> Option<String> {
        match self.state(id) {
            State::Executable => None,
            State::Initial => Some("it was not recorded".to_owned()),
            State::Recording => Some("its recording was not ended".to_owned()),
            State::Poisoned => {
                Some(self.reasons.get(&(id as u32)).cloned().unwrap_or_else(|| "it is poisoned".to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_buffer_when_poisoned_runs_only_after_it_is_recorded_anew() {
        let mut buffers = CommandBuffers::default();
        assert!(buffers.unfit(3).is_some());
        buffers.set(3, State::Recording);
        buffers.poison(3, "buffer 7 is gone".to_owned());
        buffers.poison(3, "another reason".to_owned());
        assert_eq!(buffers.unfit(3).as_deref(), Some("buffer 7 is gone"));
        buffers.set(3, State::Recording);
        assert!(buffers.reasons.is_empty());
        buffers.end(3);
        assert_eq!(buffers.unfit(3), None);
    }

    #[test]
    fn command_buffer_when_poisoned_is_ended_but_does_not_run() {
        let mut buffers = CommandBuffers::default();
        buffers.set(1, State::Recording);
        buffers.poison(1, "why".to_owned());
        assert!(buffers.is_begun(1));
        buffers.end(1);
        assert!(!buffers.is_begun(1));
        assert_eq!(buffers.unfit(1).as_deref(), Some("why"));
    }
}
