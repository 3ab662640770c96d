//! Threads that work while the session's goes on: started when there is something to do, asleep when there is not.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Stack of a worker in bytes: compilers of drivers expect what the main thread has.
const STACK: usize = 8 << 20;

/// A job: its number, and what there is to do.
type Job<T> = (u64, Box<dyn FnOnce() -> T + Send>);

/// A few threads, and the jobs that they have.
#[derive(Debug)]
pub struct Workers<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
    most: usize,
    last: u64,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// There is a job, or the workers are to end.
    wake: Condvar,
    /// A job is done.
    done: Condvar,
}

struct State<T> {
    queued: VecDeque<Job<T>>,
    running: usize,
    /// Jobs whose results nobody has taken yet; none where the job panicked.
    done: HashMap<u64, Option<T>>,
    idle: usize,
    quit: bool,
}

impl<T> std::fmt::Debug for State<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("queued", &self.queued.len()).finish_non_exhaustive()
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a job that was taken from the queue.
    fn run<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T>>,
        (number, work): Job<T>,
    ) -> MutexGuard<'a, State<T>> {
        state.running += 1;
        drop(state);
        let result = catch_unwind(AssertUnwindSafe(work)).ok();
        let mut state = self.lock();
        state.running -= 1;
        state.done.insert(number, result);
        self.done.notify_all();
        state
    }
}

impl<T> Default for Workers<T> {
    /// As many as there are cores beside the session's own, at least one; none is started yet.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with(cores.saturating_sub(1).max(1))
    }
}

impl<T> Workers<T> {
    fn with(most: usize) -> Self {
        let state = State { queued: VecDeque::new(), running: 0, done: HashMap::new(), idle: 0, quit: false };
        let shared = Shared { state: Mutex::new(state), wake: Condvar::new(), done: Condvar::new() };
        Self { shared: Arc::new(shared), threads: Vec::new(), most, last: 0 }
    }
}

impl<T: Send + 'static> Workers<T> {
    /// Has `work` done soon; its number, higher than all before. Where no thread can be started, who waits for it does it.
    pub fn submit(&mut self, work: impl FnOnce() -> T + Send + 'static) -> u64 {
        self.last += 1;
        let mut state = self.shared.lock();
        state.queued.push_back((self.last, Box::new(work)));
        if state.queued.len() <= state.idle {
            self.shared.wake.notify_one();
        } else if self.threads.len() < self.most {
            drop(state);
            let shared = Arc::clone(&self.shared);
            let thread = Builder::new().name("vw-compiler".to_owned()).stack_size(STACK);
            match thread.spawn(move || work_on(&shared)) {
                Ok(thread) => self.threads.push(thread),
                Err(error) => tracing::warn!("no thread to compile with: {error}"),
            }
        }
        self.last
    }

    /// The result of a job that was submitted and not taken yet, when it is there; none if it panicked. The caller works
    /// too until then, on this job if nobody has begun it.
    pub fn wait(&self, number: u64) -> Option<T> {
        let mut state = self.shared.lock();
        loop {
            if let Some(result) = state.done.remove(&number) {
                return result;
            }
            let own = state.queued.iter().position(|(queued, _)| *queued == number);
            state = match state.queued.remove(own.unwrap_or(0)) {
                Some(job) => self.shared.run(state, job),
                None if state.running == 0 => return None,
                None => self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes a job back that nobody has begun; false: it is being done, or is done.
    pub fn cancel(&self, number: u64) -> bool {
        let mut state = self.shared.lock();
        let at = state.queued.iter().position(|(queued, _)| *queued == number);
        at.and_then(|at| state.queued.remove(at)).is_some()
    }

    /// The jobs that are done and whose results nobody has taken.
    pub fn done(&self) -> Vec<u64> {
        self.shared.lock().done.keys().copied().collect()
    }
}

impl<T> Drop for Workers<T> {
    /// What nobody has begun is dropped, the rest waited for.
    fn drop(&mut self) {
        let queued = {
            let mut state = self.shared.lock();
            state.quit = true;
            std::mem::take(&mut state.queued)
        };
        drop(queued);
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A worker does not panic: jobs that do are caught.
            let _ = thread.join();
        }
    }
}

fn work_on<T>(shared: &Shared<T>) {
    let mut state = shared.lock();
    while !state.quit {
        state = if let Some(job) = state.queued.pop_front() {
            shared.run(state, job)
        } else {
            state.idle += 1;
            let mut state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            state
        };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn jobs_when_submitted_are_done_by_others_and_waited_for_one_by_one() {
        let mut workers = Workers::with(2);
        let here = std::thread::current().id();
        let (sender, receiver) = channel();
        let first = workers.submit(move || {
            sender.send(std::thread::current().id()).unwrap();
            1
        });
        assert_ne!(receiver.recv().unwrap(), here, "nobody has waited for it");
        let rest: Vec<u64> = (2..100).map(|value| workers.submit(move || value)).collect();
        for (number, value) in rest.iter().zip(2..100).rev() {
            assert_eq!(workers.wait(*number), Some(value));
        }
        assert_eq!(workers.wait(first), Some(1));
        assert_eq!(workers.wait(first), None, "taken");
        assert!((1..=2).contains(&workers.threads.len()));
    }

    #[test]
    fn job_when_nobody_has_begun_it_is_done_by_who_waits_or_can_be_taken_back() {
        let mut workers = Workers::with(1);
        let (go, blocked) = channel::<()>();
        let (begin, begun) = channel();
        let first = workers.submit(move || {
            begin.send(()).unwrap();
            let _ = blocked.recv();
            std::thread::current().id()
        });
        begun.recv().unwrap();
        let second = workers.submit(|| std::thread::current().id());
        let third = workers.submit(|| std::thread::current().id());
        assert_eq!(workers.wait(second), Some(std::thread::current().id()));
        assert!(workers.cancel(third) && !workers.cancel(third) && !workers.cancel(first));
        go.send(()).unwrap();
        assert_ne!(workers.wait(first), Some(std::thread::current().id()));
        assert!(workers.done().is_empty());
    }

    #[test]
    fn job_when_it_panics_has_no_result_and_the_others_go_on() {
        let mut workers = Workers::with(1);
        let bad = workers.submit(|| panic!("as the test wants"));
        let good = workers.submit(|| 7);
        assert_eq!(workers.wait(good), Some(7));
        assert_eq!(workers.wait(bad), None);
    }

    #[test]
    fn workers_when_dropped_have_ended_and_begin_nothing_more() {
        let count = Arc::new(AtomicU32::new(0));
        let mut workers = Workers::with(1);
        let (begin, begun) = channel();
        let (go, blocked) = channel::<()>();
        let counted = Arc::clone(&count);
        workers.submit(move || {
            begin.send(()).unwrap();
            let _ = blocked.recv();
            counted.fetch_add(1, Ordering::Relaxed);
        });
        begun.recv().unwrap();
        for _ in 0..10 {
            let counted = Arc::clone(&count);
            workers.submit(move || {
                counted.fetch_add(100, Ordering::Relaxed);
            });
        }
        let ending = std::thread::spawn(move || drop(workers));
        // Only a queue that was emptied lets its jobs' counters go.
        while Arc::strong_count(&count) > 2 {
            std::thread::yield_now();
        }
        go.send(()).unwrap();
        ending.join().unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
