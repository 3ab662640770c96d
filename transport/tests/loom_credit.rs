//! Model of a credit: whatever the host grants and takes back meanwhile, what the guest has taken is covered.
//!
//!     RUSTFLAGS="--cfg loom" cargo test -p vw-transport --release --test loom_credit
#![allow(unexpected_cfgs, reason = "cfg(loom) is set by hand")]
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "tests")]

use loom::sync::Arc;
use loom::thread;
use vw_transport::credit::{Credit, Granted};
use vw_transport::sync::{AtomicU64, Ordering};

/// A credit, and what the guest says it has used, as records in a ring say it.
#[derive(Default)]
struct Shared {
    credit: Credit,
    used: [AtomicU64; 2],
}

#[test]
fn credit_when_it_grows_and_shrinks_covers_all_that_two_threads_take() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let shared = Arc::new(Shared::default());
        let mut granted = Granted::default();
        granted.set(&shared.credit, 5);
        let takers = [2, 3].map(|amount| {
            let shared = shared.clone();
            thread::spawn(move || {
                if shared.credit.take(amount) {
                    shared.used[amount as usize - 2].fetch_add(amount, Ordering::Release);
                }
            })
        });
        let mut seen = 0;
        for aim in [1, 4] {
            granted.set(&shared.credit, aim);
            for used in &shared.used {
                let amount = used.swap(0, Ordering::Acquire);
                assert!(granted.spend(amount), "{amount} of {granted:?}");
                seen += amount;
            }
        }
        for taker in takers {
            taker.join().unwrap();
        }
        for used in &shared.used {
            assert!(granted.spend(used.load(Ordering::Acquire)));
            seen += used.load(Ordering::Acquire);
        }
        assert_eq!(granted.amount(), shared.credit.left(), "nothing is lost; {seen} were used");
    });
}
