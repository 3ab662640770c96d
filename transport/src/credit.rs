//! Credit: what the guest may take of the host's without asking.
//!
//! One word in the control page says how much is left. The guest takes of it, the host adds to it and takes back, each in one
//! atomic step, so that nothing is ever had by both. What the guest has taken and the host has not seen used yet, the host
//! counts as still granted.

use crate::sync::{AtomicU64, Ordering};

/// What is left of a credit.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Credit(AtomicU64);

impl Credit {
    /// Guest: takes `amount` if there is as much.
    pub fn take(&self, amount: u64) -> bool {
        let rest = |left: u64| left.checked_sub(amount);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).is_ok()
    }

    /// Guest: gives back what it took and did not use. Host: grants more.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// How much is left.
    pub fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn withdraw(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// The host's account of a credit: what is granted and was not seen used.
#[derive(Debug, Default)]
pub struct Granted(u64);

impl Granted {
    /// What the guest may still use, whether it has taken it or not.
    pub fn amount(&self) -> u64 {
        self.0
    }

    /// Grants or takes back until `aim` is granted; what the guest has taken stays granted until it is seen used.
    pub fn set(&mut self, credit: &Credit, aim: u64) {
        if aim < self.0 {
            // Whatever the guest has written there, it cannot return more than it was given.
            self.0 -= credit.withdraw().min(self.0);
        }
        if let Some(more) = aim.checked_sub(self.0).filter(|more| *more > 0) {
            credit.add(more);
            self.0 = aim;
        }
    }

    /// The guest uses `amount`; false, and nothing is counted, if that was not granted.
    #[must_use]
    pub fn spend(&mut self, amount: u64) -> bool {
        let rest = self.0.checked_sub(amount);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn credit_when_there_is_less_is_not_taken() {
        let (credit, mut granted) = (Credit::default(), Granted::default());
        assert!(credit.take(0) && !credit.take(1));
        granted.set(&credit, 10);
        assert!(credit.take(6) && !credit.take(5) && credit.take(4));
        credit.add(3);
        assert_eq!((credit.left(), granted.amount()), (3, 10));
        assert!(granted.spend(7) && !granted.spend(4));
        assert_eq!(granted.amount(), 3);
    }

    #[test]
    fn credit_when_it_shrinks_still_covers_what_was_taken() {
        let (credit, mut granted) = (Credit::default(), Granted::default());
        granted.set(&credit, 10);
        assert!(credit.take(6));
        granted.set(&credit, 2);
        assert_eq!((credit.left(), granted.amount()), (0, 6));
        granted.set(&credit, 8);
        assert_eq!((credit.left(), granted.amount()), (2, 8));
        granted.set(&credit, 7);
        assert_eq!((credit.left(), granted.amount()), (1, 7));
        assert!(granted.spend(6));
        granted.set(&credit, 0);
        assert_eq!((credit.left(), granted.amount()), (0, 0));
    }

    #[test]
    fn credit_when_the_guest_writes_it_grants_no_more() {
        let (credit, mut granted) = (Credit::default(), Granted::default());
        granted.set(&credit, 10);
        credit.add(u64::MAX - 10);
        assert!(!granted.spend(11));
        granted.set(&credit, 4);
        assert_eq!((credit.left(), granted.amount()), (4, 4));
        credit.add(u64::MAX);
        granted.set(&credit, 5);
        assert_eq!(granted.amount(), 5);
        assert!(!granted.spend(6) && granted.spend(5));
    }
}
