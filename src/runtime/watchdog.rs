//! Interrupts: the words that generated code polls, and the watchdog that sets them.
//!
//! A case that ends in the reference ends in every engine, unless the code under test is wrong.
//! So that wrong code ends as an outcome and not as a dead fuzzer, one thread of the process
//! looks after all wasm calls under way: one that takes longer than [`LIMIT`] is interrupted
//! through its interrupt word, and one that does not heed that for [`GRACE`] is stopped by a
//! signal. Neither decides a verdict: a call that was stopped so is inconclusive. What only looks
//! for cases that end soon, as a shrinker does, may ask for less patience ([`Hurry`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, Weak};
use std::time::Duration;

use super::entry::UNCHECKED_STACK_BYTES;
use crate::translate::layout::{INTERRUPTED, interrupts};

/// How long a call may take before it is interrupted.
pub const LIMIT: Duration = Duration::from_secs(10);

/// How long an interrupted call may go on before it is stopped.
pub const GRACE: Duration = Duration::from_secs(2);

const TICK: Duration = Duration::from_millis(500);

/// What stands in the place of the tick at which a call began while its thread is sent a signal: the call
/// does not end meanwhile, so that the thread is there.
const BEING_STOPPED: u64 = u64::MAX;

/// How many there are who want calls to end soon.
static HURRIED: AtomicU64 = AtomicU64::new(0);

/// Whether somebody does.
pub fn hurried() -> bool {
    HURRIED.load(Ordering::Relaxed) > 0
}

/// For as long as it lives, calls of this process are stopped after about a second.
#[derive(Debug)]
pub struct Hurry(());

impl Hurry {
    /// From now on.
    pub fn new() -> Hurry {
        HURRIED.fetch_add(1, Ordering::Relaxed);
        Hurry(())
    }
}

impl Default for Hurry {
    fn default() -> Self {
        Hurry::new()
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        HURRIED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The words that the vmctx of every instance of a store points to. Laid out as
/// [`crate::translate::layout::interrupts`] says.
///
/// They have a page to themselves, so that an emulator can let generated code touch them and
/// nothing else.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Interrupts {
    stack_limit: AtomicU64,
    exit_frame_pointer: AtomicU64,
    exit_return_address: AtomicU64,
    /// The lowest address that the stack may reach, also while the word for it says that wasm is
    /// interrupted.
    lowest: AtomicU64,
    /// The tick at which the call under way began; 0 while there is none, [`BEING_STOPPED`] while it is
    /// sent a signal.
    since: AtomicU64,
    /// The thread it runs on, as `pthread_t`.
    thread: AtomicU64,
}

const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Interrupts, stack_limit) == interrupts::STACK_LIMIT as usize);
    assert!(offset_of!(Interrupts, exit_frame_pointer) == interrupts::EXIT_FRAME_POINTER as usize);
    assert!(
        offset_of!(Interrupts, exit_return_address) == interrupts::EXIT_RETURN_ADDRESS as usize
    );
};

static NOW: AtomicU64 = AtomicU64::new(1);
static WATCHED: Mutex<Vec<Weak<Interrupts>>> = Mutex::new(Vec::new());
static THREAD: Once = Once::new();

fn watched() -> MutexGuard<'static, Vec<Weak<Interrupts>>> {
    WATCHED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Interrupts {
    /// Words that the watchdog looks after for as long as they live.
    pub fn watched() -> Arc<Interrupts> {
        let words = Arc::new(Interrupts::unwatched());
        let mut all = watched();
        all.retain(|words| words.strong_count() > 0);
        all.push(Arc::downgrade(&words));
        start();
        words
    }

    fn unwatched() -> Interrupts {
        Interrupts {
            stack_limit: AtomicU64::new(0),
            exit_frame_pointer: AtomicU64::new(0),
            exit_return_address: AtomicU64::new(0),
            lowest: AtomicU64::new(0),
            since: AtomicU64::new(0),
            thread: AtomicU64::new(0),
        }
    }

    /// The address that vmctxs hold.
    pub fn address(&self) -> u64 {
        std::ptr::from_ref(self).expose_provenance() as u64
    }

    /// Starts the clock for a call on this thread and sets its stack limit.
    pub fn begin(&self, stack_limit: u64, thread: u64) {
        self.set_stack_limit(stack_limit);
        self.thread.store(thread, Ordering::Relaxed);
        self.since
            .store(NOW.load(Ordering::Relaxed), Ordering::Release);
    }

    /// Sets the stack limit for a call that needs no clock, since it ends in any case.
    pub fn set_stack_limit(&self, stack_limit: u64) {
        self.lowest.store(stack_limit, Ordering::Relaxed);
        self.stack_limit.store(stack_limit, Ordering::Relaxed);
    }

    /// The stack limit, whether or not wasm is interrupted.
    pub fn stack_limit(&self) -> u64 {
        self.lowest.load(Ordering::Relaxed)
    }

    /// By how many bytes the frame that wasm was left from last is beyond the stack limit, if it is by more
    /// than [`UNCHECKED_STACK_BYTES`].
    pub fn beyond_stack(&self) -> Option<u64> {
        let frame = self.exit_frame_pointer.load(Ordering::Relaxed);
        let beyond = self.stack_limit().saturating_sub(frame);
        (beyond > UNCHECKED_STACK_BYTES).then_some(beyond)
    }

    /// Stops the clock, once the watchdog is done with the call.
    pub fn end(&self) {
        let mut since = self.since.load(Ordering::Relaxed);
        loop {
            if since == BEING_STOPPED {
                std::thread::yield_now();
                since = self.since.load(Ordering::Relaxed);
                continue;
            }
            let ended =
                self.since
                    .compare_exchange_weak(since, 0, Ordering::AcqRel, Ordering::Relaxed);
            match ended {
                Ok(_) => return,
                Err(now) => since = now,
            }
        }
    }

    /// Does something with the thread of the call that began at a tick, if that is still under way; it does
    /// not end before this is done.
    pub(super) fn with_thread(&self, since: u64, work: impl FnOnce(u64)) {
        let claimed =
            self.since
                .compare_exchange(since, BEING_STOPPED, Ordering::AcqRel, Ordering::Relaxed);
        if claimed.is_ok() {
            work(self.thread.load(Ordering::Relaxed));
            self.since.store(since, Ordering::Release);
        }
    }

    /// Asks wasm to trap at the next loop header or function entry.
    pub fn interrupt(&self) {
        self.stack_limit.store(INTERRUPTED, Ordering::Relaxed);
    }

    /// Whether it has been asked to.
    pub fn interrupted(&self) -> bool {
        self.stack_limit.load(Ordering::Relaxed) == INTERRUPTED
    }

    /// Frame pointer and return address of the last exit from wasm.
    pub fn exit(&self) -> (u64, u64) {
        (
            self.exit_frame_pointer.load(Ordering::Relaxed),
            self.exit_return_address.load(Ordering::Relaxed),
        )
    }

    /// Restores what [`Interrupts::exit`] returned before wasm was entered again.
    pub fn set_exit(&self, (frame_pointer, return_address): (u64, u64)) {
        self.exit_frame_pointer
            .store(frame_pointer, Ordering::Relaxed);
        self.exit_return_address
            .store(return_address, Ordering::Relaxed);
    }
}

/// A clock over calls into an engine that is not ours, which is asked to end one that takes too
/// long. Unlike generated code of ours it cannot be stopped if it does not heed that.
pub struct Clock {
    since: AtomicU64,
    interrupt: Box<dyn Fn() + Send + Sync>,
}

static CLOCKS: Mutex<Vec<Weak<Clock>>> = Mutex::new(Vec::new());

impl Clock {
    /// A clock that the watchdog looks at for as long as it lives. `interrupt` is called in the
    /// watchdog's thread while a call is late.
    pub fn watched(interrupt: impl Fn() + Send + Sync + 'static) -> Arc<Clock> {
        let clock = Arc::new(Clock {
            since: AtomicU64::new(0),
            interrupt: Box::new(interrupt),
        });
        let mut all = clocks();
        all.retain(|clock| clock.strong_count() > 0);
        all.push(Arc::downgrade(&clock));
        start();
        clock
    }

    /// A call begins.
    pub fn begin(&self) {
        self.since
            .store(NOW.load(Ordering::Relaxed), Ordering::Release);
    }

    /// It has ended.
    pub fn end(&self) {
        self.since.store(0, Ordering::Release);
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

fn clocks() -> MutexGuard<'static, Vec<Weak<Clock>>> {
    CLOCKS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn start() {
    THREAD.call_once(|| {
        // Without a thread to spare, wrong code may hang; nothing else changes.
        let _ = std::thread::Builder::new()
            .name("parallax-watchdog".into())
            .spawn(watch);
    });
}

fn ticks(time: Duration) -> u64 {
    (time.as_millis() / TICK.as_millis()) as u64
}

fn watch() {
    loop {
        std::thread::sleep(TICK);
        let now = NOW.fetch_add(1, Ordering::Relaxed) + 1;
        let (limit, grace) = match HURRIED.load(Ordering::Relaxed) {
            0 => (LIMIT, GRACE),
            _ => (TICK, TICK),
        };
        for clock in clocks().iter().filter_map(Weak::upgrade) {
            let since = clock.since.load(Ordering::Acquire);
            if since != 0 && now.saturating_sub(since) > ticks(limit) {
                (clock.interrupt)();
            }
        }
        for words in watched().iter().filter_map(Weak::upgrade) {
            let since = words.since.load(Ordering::Acquire);
            if since == 0 {
                continue;
            }
            let age = now.saturating_sub(since);
            if age > ticks(limit) {
                words.interrupt();
            }
            if age > ticks(limit + grace) {
                super::signals::stop_call(&words, since);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_call_ends_only_when_nobody_is_about_to_stop_it() {
        // Nobody is to send a signal to this thread.
        let words = Interrupts::unwatched();
        words.begin(0, 7);
        let since = words.since.load(Ordering::Relaxed);
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            words.with_thread(since, |thread| {
                assert_eq!(thread, 7);
                scope.spawn(|| {
                    words.end();
                    ended.store(true, Ordering::Relaxed);
                });
                std::thread::sleep(Duration::from_millis(50));
                assert!(!ended.load(Ordering::Relaxed));
            });
        });
        assert!(ended.load(Ordering::Relaxed));
        assert_eq!(words.since.load(Ordering::Relaxed), 0);
        words.with_thread(since, |_| panic!("it has ended"));
        // Nor is another call taken for it.
        words.begin(0, 7);
        let since = words.since.load(Ordering::Relaxed);
        words.with_thread(since + 1, |_| panic!("it began at another time"));
        words.end();
    }
}
