//! The supervisor's side of one worker: starting it, asking it to run cases, and ending it when it
//! takes more than a case may. What is asked and answered is the business of those who do: a run
//! ([`super::worker`]), or a command that looks at single cases ([`super::sandbox`]).
//!
//! What a case may take is measured in the worker's processor time and memory, which do not depend
//! on what else the machine does; the clock on the wall only tells a worker that does nothing at all.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use parallax_oracles::Reason;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::confine::Layer;
use super::flight::{Flight, InFlight};
use super::mishap::Mishap;
use super::protocol::{self, CONFINE_OPTION, LINE_BYTES, Reply};
use crate::panics::BACKTRACE_VARIABLE;

/// How often a worker is looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long a worker may take to make its engines, on a machine that is busy with others.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How long a worker that was asked to end, or has closed its end, is waited for.
const END_LIMIT: Duration = Duration::from_secs(5);

/// A worker that does nothing at all is given up after this many times the processor time that a
/// case may take.
const IDLE_FACTOR: u32 = 10;

/// How often starting a worker is tried again when somebody kills it meanwhile.
const STARTS: u32 = 10;

/// What the program's allocator (`main.rs`) is told in a worker: not to ask the system for NUMA nodes,
/// which a confined process may not, and to make memory writable as it is used, since what is writable
/// is counted against the worker.
const ALLOCATOR_OPTIONS: [(&str, &str); 2] = [
    ("MIMALLOC_USE_NUMA_NODES", "1"),
    ("MIMALLOC_ARENA_EAGER_COMMIT", "0"),
];

/// What the standard library says before it aborts, when memory is refused.
const NO_MEMORY: &str = "memory allocation of ";

/// What Unicorn says before it exits, when memory is refused for an emulator: a gibibyte for each.
const NO_TRANSLATOR_BUFFER: &str = "Could not allocate dynamic translator buffer";

/// What a case may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Processor time.
    pub time: Duration,
    /// Bytes of memory that are in use, of the whole worker.
    pub memory: u64,
}

impl Limits {
    /// Whether a case that took so much processor time, and so long, took more than `times` what it may.
    fn is_hung(self, times: u32, busy: Duration, wall: Duration) -> bool {
        let limit = self.time.saturating_mul(times);
        busy > limit || wall > limit.saturating_mul(IDLE_FACTOR)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            time: Duration::from_secs(60),
            memory: 4 << 30,
        }
    }
}

/// Where worker processes come from, and what they may do.
#[derive(Clone, Debug)]
pub struct Station {
    /// The program to run: parallax itself.
    pub program: PathBuf,
    /// What a case may take.
    pub limits: Limits,
    /// By what workers are to be confined, as far as it is to be had.
    pub confine_by: Vec<Layer>,
    /// Whether the first case of every group of findings is shrunk.
    pub shrink: bool,
    /// What is to go wrong in them.
    pub mishaps: Vec<Mishap>,
}

/// A worker process, which answers with an `A`.
pub struct Worker<A> {
    child: Child,
    requests: UnixStream,
    replies: BufReader<UnixStream>,
    /// What was read of a line so far.
    line: Vec<u8>,
    flight: Flight,
    limits: Limits,
    /// By what it is confined.
    confined_by: Vec<Layer>,
    /// How many times what a case may take the one under way may.
    patience: u32,
    /// Requests that are not answered.
    open: u32,
    /// Why it is to be ended, if it did not so much as hear what it was asked.
    deaf: Option<How>,
    pass_on: bool,
    /// When the case under way began.
    began: Instant,
    /// The processor time that had been used when the case under way was first looked at. Most cases
    /// never are: they take less than a tick.
    busy_before: Option<Duration>,
    /// When its memory was last looked at.
    looked: Instant,
    answers: PhantomData<A>,
}

/// What became of a worker.
#[derive(Debug)]
pub enum Event<A> {
    /// It did what it was asked.
    Answered(A),
    /// It cannot work.
    Unable(String),
    /// It is no more.
    Died(Death),
    /// It was not waited for any longer.
    Abandoned,
}

/// How a worker ended that was not asked to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Death {
    /// How.
    pub how: How,
    /// What it wrote to standard error last, in one line.
    pub last_words: String,
    /// What it was about to run.
    pub input: Option<InFlight>,
}

/// How a worker ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// By a signal that nobody but itself sent.
    Signal(i32),
    /// It was killed, or asked to end, not by us.
    Killed,
    /// It exited with this status.
    Exited(i32),
    /// It was ended: it used so much processor time, or none at all for so long.
    Hung {
        /// Processor time.
        busy: Duration,
        /// Time on the wall.
        wall: Duration,
    },
    /// It was ended: it used so many bytes of memory.
    TookMemory(u64),
    /// It was ended: it said what is no answer.
    Babbled,
}

impl<A: DeserializeOwned> Worker<A> {
    /// Starts a worker, by a hidden command of the program, gives it its orders and waits until it is
    /// ready.
    ///
    /// # Errors
    /// One line: it cannot be started, or says that it cannot work.
    pub fn start(
        station: &Station,
        command: &str,
        orders: &impl Serialize,
    ) -> Result<Worker<A>, String> {
        for _ in 0..STARTS {
            let mut worker = Worker::spawn(station, command, orders)
                .map_err(|error| format!("cannot start a worker process: {error}"))?;
            match worker.ready() {
                Ok(()) => return Ok(worker),
                Err(Event::Died(death)) if death.how == How::Killed => {}
                Err(Event::Died(death)) => {
                    return Err(format!("a worker process does not start: {death}"));
                }
                Err(Event::Unable(why)) => return Err(why),
                Err(Event::Answered(_) | Event::Abandoned) => {
                    return Err("a worker process answers unasked".to_string());
                }
            }
        }
        Err(format!(
            "somebody killed {STARTS} workers in a row as they started"
        ))
    }

    fn spawn(station: &Station, command: &str, orders: &impl Serialize) -> io::Result<Worker<A>> {
        let flight = Flight::new()?;
        let (ours, theirs) = UnixStream::pair()?;
        let layers: Vec<&str> = station.confine_by.iter().map(|it| it.name()).collect();
        let layers = match layers[..] {
            [] => "none".to_string(),
            _ => layers.join(","),
        };
        let child = Command::new(&station.program)
            .arg0("parallax")
            .arg(command)
            .arg(format!("{CONFINE_OPTION}={layers}"))
            .envs(ALLOCATOR_OPTIONS)
            .stdin(OwnedFd::from(theirs.try_clone()?))
            .stdout(OwnedFd::from(theirs))
            .stderr(flight.standard_error()?)
            // Ctrl-C is for the supervisor, which lets workers come to an end.
            .process_group(0)
            .spawn()?;
        ours.set_read_timeout(Some(TICK))?;
        ours.set_write_timeout(Some(TICK))?;
        let mut worker = Worker {
            child,
            requests: ours.try_clone()?,
            replies: BufReader::new(ours),
            line: Vec::new(),
            flight,
            limits: station.limits,
            confined_by: Vec::new(),
            patience: 1,
            open: 0,
            deaf: None,
            pass_on: std::env::var_os(BACKTRACE_VARIABLE).is_some(),
            began: Instant::now(),
            busy_before: None,
            looked: Instant::now(),
            answers: PhantomData,
        };
        worker.say(orders);
        Ok(worker)
    }

    /// Waits until the worker is ready.
    fn ready(&mut self) -> Result<(), Event<A>> {
        loop {
            match self.hear() {
                Ok(Some(Reply::Ready(layers))) => {
                    self.confined_by = layers;
                    self.limit_memory();
                    self.begin();
                    return Ok(());
                }
                Ok(Some(Reply::Unable(why))) => return Err(Event::Unable(why)),
                Ok(Some(Reply::Answer(answer))) => return Err(Event::Answered(answer)),
                Ok(None) if self.began.elapsed() < START_LIMIT => {}
                Ok(None) => {
                    let (busy, wall) = (self.busy(), START_LIMIT);
                    return Err(Event::Died(self.end(How::Hung { busy, wall })));
                }
                Err(how) => return Err(Event::Died(self.end_by_itself(how))),
            }
        }
    }

    /// Asks for something. Requests are served in the order in which they are made.
    pub fn ask(&mut self, request: &impl Serialize) {
        // How long it had nothing to do is nobody's business.
        if self.open == 0 {
            self.begin();
        }
        self.open += 1;
        self.say(request);
    }

    /// Says something to the worker, which may take as long to hear it as a case may take. If it is dead,
    /// or does not hear it, that is seen when it is waited for.
    fn say(&mut self, what: &impl Serialize) {
        let line = protocol::line(what);
        let mut left = line.as_deref().unwrap_or_default();
        while !left.is_empty() && self.deaf.is_none() {
            match self.requests.write(left) {
                Ok(taken) => left = &left[taken..],
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => self.deaf = self.over_limit(),
                    _ => return,
                },
            }
        }
    }

    /// From now on, what it is asked for may take so many times what a case may.
    pub fn be_patient(&mut self, times: u32) {
        self.patience = times;
    }

    /// Waits until something becomes of the case under way. If that takes until `enough` says so,
    /// nothing does.
    pub fn wait(&mut self, enough: impl Fn() -> bool) -> Event<A> {
        if let Some(how) = self.deaf.take() {
            return Event::Died(self.end(how));
        }
        loop {
            match self.hear() {
                Ok(Some(Reply::Answer(answer))) => {
                    self.open = self.open.saturating_sub(1);
                    self.begin();
                    return Event::Answered(answer);
                }
                Ok(Some(Reply::Unable(why))) => return Event::Unable(why),
                Ok(Some(Reply::Ready(_))) => return Event::Died(self.end(How::Babbled)),
                Ok(None) if enough() => return Event::Abandoned,
                Ok(None) => {
                    if let Some(how) = self.over_limit() {
                        return Event::Died(self.end(how));
                    }
                }
                Err(how) => return Event::Died(self.end_by_itself(how)),
            }
        }
    }

    /// Lets the worker come to its end, which it does when it hears that nothing more will be asked.
    pub fn finish(mut self) {
        // That the socket is gone already is no less.
        let _ = self.requests.shutdown(std::net::Shutdown::Both);
        self.await_end();
    }

    /// By what it is confined.
    pub fn confined_by(&self) -> &[Layer] {
        &self.confined_by
    }

    fn begin(&mut self) {
        self.began = Instant::now();
        self.busy_before = None;
        if self.pass_on {
            // Nothing is left to be done if standard error is gone.
            let _ = io::stderr().write_all(self.flight.new_words().as_bytes());
        }
    }

    /// Hears the next reply; nothing if there is none within a tick.
    ///
    /// # Errors
    /// That it babbles; or `None` if it is no longer there.
    fn hear(&mut self) -> Result<Option<Reply<A>>, Option<How>> {
        loop {
            let room = LINE_BYTES.saturating_sub(self.line.len() as u64);
            let mut replies = (&mut self.replies).take(room);
            match replies.read_until(b'\n', &mut self.line) {
                Ok(_) if self.line.ends_with(b"\n") => {
                    let reply = serde_json::from_slice(&self.line);
                    self.line.clear();
                    return reply.map(Some).map_err(|_| Some(How::Babbled));
                }
                Ok(_) if room == 0 => return Err(Some(How::Babbled)),
                Ok(0) => return Err(None),
                // The end of what may be read, or of what there is: the next turn tells.
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(None),
                    _ => return Err(None),
                },
            }
        }
    }

    /// Whether the case under way takes more than it may.
    fn over_limit(&mut self) -> Option<How> {
        let memory = self.resident();
        if memory > self.limits.memory {
            return Some(How::TookMemory(memory));
        }
        let busy = self.busy();
        let before = *self.busy_before.get_or_insert(busy);
        let (busy, wall) = (busy.saturating_sub(before), self.began.elapsed());
        let hung = self.limits.is_hung(self.patience, busy, wall);
        hung.then_some(How::Hung { busy, wall })
    }

    /// Whether the worker, between two cases, holds on to more memory than it may: what it keeps from
    /// case to case is no case's fault.
    pub fn is_bloated(&mut self) -> bool {
        if self.looked.elapsed() < TICK {
            return false;
        }
        self.looked = Instant::now();
        self.resident() > self.limits.memory
    }

    /// Ends the worker.
    pub fn end(&mut self, how: How) -> Death {
        // It may be dead already.
        let _ = self.child.kill();
        self.await_end();
        self.death(how)
    }

    /// What is to be said of a worker that has closed its end, or of one that babbles.
    fn end_by_itself(&mut self, how: Option<How>) -> Death {
        if let Some(how) = how {
            return self.end(how);
        }
        let how = match self.await_end() {
            Some(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => How::by(signal),
                (None, code) => How::Exited(code.unwrap_or(0)),
            },
            None => How::Babbled,
        };
        self.death(how)
    }

    fn death(&self, how: How) -> Death {
        Death {
            how,
            last_words: self.flight.last_words(),
            input: self.flight.input(),
        }
    }

    /// Waits for the end of the process for a while, then ends it. How it ended, if by itself.
    fn await_end(&mut self) -> Option<ExitStatus> {
        let closed = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if closed.elapsed() < END_LIMIT => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                _ => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return None;
                }
            }
        }
    }

    /// The processor time that the worker has used.
    fn busy(&self) -> Duration {
        // proc(5): after the name, which is in parentheses and may hold anything, fields 3 and on.
        let stat = self.proc("stat");
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let mut ticks = || {
            fields
                .next()
                .and_then(|it| it.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let ticks = ticks() + ticks();
        Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second().max(1))
    }

    /// The bytes of memory that the worker uses.
    fn resident(&self) -> u64 {
        let statm = self.proc("statm");
        let pages = statm.split_ascii_whitespace().nth(1);
        let pages: u64 = pages.and_then(|it| it.parse().ok()).unwrap_or(0);
        pages * rustix::param::page_size() as u64
    }

    /// Has the system refuse memory to a worker that takes more than twice what it may between two
    /// looks at it, over what it has now. What is counted is what it could write to, used or not;
    /// address space that is only reserved is not, so that cases that are within their limit never
    /// come near. Generated code, which lies in shared memory, is not counted either, and is bounded by
    /// its arena.
    fn limit_memory(&self) {
        use rustix::process::{Pid, Resource, Rlimit};
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
        let kibibytes = line.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let Some(has) = kibibytes.and_then(|it| it.checked_mul(1 << 10)) else {
            return;
        };
        let most = has.saturating_add(self.limits.memory.saturating_mul(2));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        // Where that is not to be had, looking at it is all that there is.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = rustix::process::prlimit(pid, Resource::Data, limit);
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }
}

impl<A> Drop for Worker<A> {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl How {
    /// By a signal. Some are never of a process's own making: when a service is stopped, or the system
    /// goes down, all processes are asked to end, workers among them.
    fn by(signal: i32) -> How {
        match signal {
            libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP => How::Killed,
            // Limits of whoever started parallax, which a worker inherits.
            libc::SIGXCPU | libc::SIGXFSZ => How::Killed,
            signal => How::Signal(signal),
        }
    }
}

impl Death {
    /// Why the case under way ends without a verdict; nothing if this death is a finding.
    pub fn reason(&self) -> Option<Reason> {
        match self.how {
            How::Killed => Some(Reason::Killed),
            How::Hung { .. } => Some(Reason::Hung),
            How::TookMemory(_) => Some(Reason::OutOfMemory),
            How::Signal(libc::SIGABRT) if self.last_words.contains(NO_MEMORY) => {
                Some(Reason::OutOfMemory)
            }
            How::Exited(1) if self.last_words.contains(NO_TRANSLATOR_BUFFER) => {
                Some(Reason::OutOfMemory)
            }
            How::Signal(_) | How::Exited(_) | How::Babbled => None,
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            How::Signal(signal) => write!(f, "it died of signal {signal}{}", signal_name(signal)),
            How::Killed => f.write_str("it was killed"),
            How::Exited(status) => write!(f, "it exited with status {status}"),
            How::Hung { busy, wall } => write!(
                f,
                "it was ended after {} s, of which it worked {} s",
                wall.as_secs(),
                busy.as_secs()
            ),
            How::TookMemory(bytes) => {
                write!(f, "it was ended, using {} MiB of memory", bytes >> 20)
            }
            How::Babbled => f.write_str("it was ended: what it said was no answer"),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.how.fmt(f)?;
        if !self.last_words.is_empty() {
            write!(f, ", its last words: {}", self.last_words)?;
        }
        Ok(())
    }
}

/// The name of a signal by which processes die.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGTRAP => " (SIGTRAP)",
        libc::SIGSYS => " (SIGSYS), for a system call that workers are refused",
        libc::SIGPIPE => " (SIGPIPE)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An allocation that the system refused is no crash; the same ends without these words are.
    #[test]
    fn what_is_refused_memory_is_out_of_memory() {
        let reason = |how, last_words: &str| {
            let death = Death {
                how,
                last_words: last_words.to_string(),
                input: None,
            };
            death.reason()
        };
        let out_of_memory = Some(Reason::OutOfMemory);
        assert_eq!(reason(How::Exited(1), NO_TRANSLATOR_BUFFER), out_of_memory);
        assert_eq!(reason(How::Exited(0), NO_TRANSLATOR_BUFFER), None);
        assert_eq!(reason(How::Exited(1), "something else"), None);
        let words = "memory allocation of 4096 bytes failed";
        assert_eq!(reason(How::Signal(libc::SIGABRT), words), out_of_memory);
        assert_eq!(reason(How::Signal(libc::SIGSEGV), words), None);
    }

    /// What asks all processes of a service to end makes no findings of its workers.
    #[test]
    fn only_what_a_worker_does_to_itself_is_a_crash() {
        let of = |signal| Death {
            how: How::by(signal),
            last_words: String::new(),
            input: None,
        };
        let not_its_own = [
            libc::SIGKILL,
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
            libc::SIGXCPU,
            libc::SIGXFSZ,
        ];
        for signal in not_its_own {
            assert_eq!(of(signal).reason(), Some(Reason::Killed), "{signal}");
        }
        for signal in [libc::SIGSEGV, libc::SIGABRT, libc::SIGSYS, libc::SIGPIPE] {
            assert_eq!(of(signal).reason(), None, "{signal}");
        }
    }

    /// One that says that it is ready, and then does nothing any more.
    #[test]
    fn a_worker_that_does_not_hear_is_hung() {
        let script = std::env::temp_dir().join(format!("parallax-deaf-{}", std::process::id()));
        let deaf = "echo '{\"ready\":[]}'; exec sleep 600";
        std::fs::write(&script, deaf).expect("a script");
        let station = Station {
            program: "/bin/sh".into(),
            limits: Limits {
                time: Duration::from_millis(50),
                ..Limits::default()
            },
            confine_by: Vec::new(),
            shrink: false,
            mishaps: Vec::new(),
        };
        let mut worker: Worker<u32> =
            Worker::start(&station, &script.to_string_lossy(), &()).expect("it is ready");
        // More than the system holds for somebody who does not read.
        worker.ask(&"x".repeat(16 << 20));
        let event = worker.wait(|| false);
        std::fs::remove_file(&script).expect("it was there");
        let Event::Died(death) = event else {
            panic!("{event:?}");
        };
        assert!(matches!(death.how, How::Hung { .. }), "{death}");
    }

    /// Processor time counts; the clock on the wall only for one that does nothing at all.
    #[test]
    fn a_case_hangs_by_its_processor_time_or_by_doing_nothing_for_long() {
        let limits = Limits {
            time: Duration::from_secs(6),
            ..Limits::default()
        };
        let is_hung = |times, busy, wall| {
            let (busy, wall) = (Duration::from_secs(busy), Duration::from_secs(wall));
            limits.is_hung(times, busy, wall)
        };
        assert!(!is_hung(1, 6, 6) && is_hung(1, 7, 7));
        assert!(!is_hung(1, 0, 60) && is_hung(1, 0, 61));
        assert!(!is_hung(3, 18, 180) && is_hung(3, 19, 19) && is_hung(3, 0, 181));
    }
}
