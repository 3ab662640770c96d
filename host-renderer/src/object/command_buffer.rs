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
    /// The guest has reset it already: what is left of the recording is not replayed, and it must not run.
    Abandoned,
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
    /// The driver's command buffer was begun and not ended. What was not replayed whole is not ended.
    begun: bool,
}

impl CommandBuffers {
    /// The state of a live command buffer.
    pub fn state(&self, id: u64) -> State {
        self.slots.get(id as u32 as usize).copied().unwrap_or_default().state
    }

    /// Whether the driver's command buffer was begun and not ended: it has to be reset before it is begun anew.
    pub fn is_begun(&self, id: u64) -> bool {
        self.slots.get(id as u32 as usize).copied().unwrap_or_default().begun
    }

    /// Whether everything up to here was replayed, so that the driver's command buffer can be ended.
    pub fn can_end(&self, id: u64) -> bool {
        self.state(id) == State::Recording
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

    /// Nothing of the recording that is going on is needed any more.
    pub fn abandon(&mut self, id: u64) {
        let slot = self.slot(id);
        if slot.state == State::Recording {
            slot.state = State::Abandoned;
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
            State::Abandoned => Some("it was reset while it was recorded".to_owned()),
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
        assert!(buffers.can_end(3));
        buffers.set(3, State::Executable);
        assert_eq!(buffers.unfit(3), None);
    }

    #[test]
    fn command_buffer_when_not_replayed_whole_is_not_ended_and_does_not_run() {
        let mut buffers = CommandBuffers::default();
        for (id, spoil) in
            [(1, (|b| b.poison(1, "why".to_owned())) as fn(&mut CommandBuffers)), (2, |b| b.abandon(2))]
        {
            buffers.set(id, State::Recording);
            spoil(&mut buffers);
            assert!(buffers.is_begun(id) && !buffers.can_end(id) && buffers.unfit(id).is_some());
            buffers.set(id, State::Initial);
            assert!(!buffers.is_begun(id));
        }
        buffers.abandon(1);
        assert_eq!(buffers.state(1), State::Initial, "nothing is being recorded");
    }
}
