//! What a worker may do, as far as the kernel can be had to see to it.
//!
//! The code that a worker runs is hostile by design, and a miscompiled bounds check is all that it
//! takes for it to do what it likes. So before it runs any, a worker gives up what it has no use for,
//! for itself and every thread that it will ever have:
//!
//! - by *Landlock*: to write, make, move or remove any file, to run any program, to bind or connect
//!   any TCP port, to signal a process outside;
//! - by *seccomp*: all system calls but those of a list (`calls`). On it is what threads, memory,
//!   signals, clocks and reading files take. Opening a file for writing, sockets, processes and
//!   whatever the list does not name are refused. A refusal is told and ends the worker, which makes it
//!   a finding.
//!
//! What was opened before stays open: the socket to the supervisor, and the memory file in which the
//! input in flight is noted. The supervisor alone writes to the artifacts folder.
//!
//! Either layer may be lacking, by the kernel or by an outer sandbox; what there is, is used, and what
//! there is not, is told.

use std::collections::BTreeMap;
use std::fmt;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset,
    RulesetAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use serde::{Deserialize, Serialize};

use crate::runtime::refused::tell_of_refusals;

/// A way to confine a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Landlock: rights to files, ports and signals.
    Landlock,
    /// seccomp: a list of system calls.
    Seccomp,
}

impl Layer {
    /// Both.
    pub const ALL: [Layer; 2] = [Layer::Landlock, Layer::Seccomp];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Landlock => "landlock",
            Layer::Seccomp => "seccomp",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether this machine confines: tries it on a thread, which ends confined.
pub fn available() -> Vec<Layer> {
    let thread = std::thread::Builder::new().name("confined".to_string());
    let confined = thread.spawn(|| confine(&Layer::ALL)).map(|it| it.join());
    match confined {
        Ok(Ok(layers)) => layers,
        _ => Vec::new(),
    }
}

/// Confines this thread, and those that it starts from now on. Returns the layers that hold.
pub fn confine(layers: &[Layer]) -> Vec<Layer> {
    let mut held = Vec::new();
    if layers.contains(&Layer::Landlock) && by_landlock() {
        held.push(Layer::Landlock);
    }
    // Last, since what comes before would be refused.
    if layers.contains(&Layer::Seccomp) && by_seccomp() {
        held.push(Layer::Seccomp);
    }
    held
}

/// Gives up all rights that Landlock knows but to read. Whether that holds, at least for files and
/// programs: what was added to Landlock later is taken where there is.
fn by_landlock() -> bool {
    let files = AccessFs::from_write(ABI::V5) | AccessFs::Execute;
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(files)
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V5)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self());
    restricted.is_ok_and(|status| {
        status.ruleset != RulesetStatus::NotEnforced
            && matches!(status.landlock, LandlockStatus::Available { .. })
    })
}

/// Gives up all system calls but those of the list.
fn by_seccomp() -> bool {
    let Some(filters) = filters() else {
        return false;
    };
    tell_of_refusals().is_ok()
        && filters
            .iter()
            .all(|filter| seccompiler::apply_filter(filter).is_ok())
}

/// The filters, in the order in which they are put in place.
fn filters() -> Option<[BpfProgram; 2]> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    // `clone3` has its arguments where no filter can see them. Without it, the C library takes
    // `clone`, whose flags can be seen.
    let no_clone3 = SeccompFilter::new(
        [(libc::SYS_clone3, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
        arch,
    );
    let listed = SeccompFilter::new(calls()?, SeccompAction::Trap, SeccompAction::Allow, arch);
    Some([
        no_clone3.ok()?.try_into().ok()?,
        listed.ok()?.try_into().ok()?,
    ])
}

/// The system calls that a worker may make, with what their arguments must be.
fn calls() -> Option<BTreeMap<i64, Vec<SeccompRule>>> {
    const WRITING: i32 =
        libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in FREE.iter().chain(FREE_OF_OLD) {
        calls.insert(*call, Vec::new());
    }
    // Files are opened to be read. (`O_TMPFILE` asks for writing as well.)
    calls.insert(libc::SYS_openat, vec![none_of(2, WRITING)?]);
    #[cfg(target_arch = "x86_64")]
    calls.insert(libc::SYS_open, vec![none_of(1, WRITING)?]);
    // New threads, but no new processes.
    let thread = SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64);
    calls.insert(
        libc::SYS_clone,
        vec![rule(0, thread, libc::CLONE_THREAD as u64)?],
    );
    // Signals to threads of this process: how code that does not end is stopped, and how to abort.
    let this = u64::from(std::process::id());
    calls.insert(libc::SYS_tgkill, vec![rule(0, SeccompCmpOp::Eq, this)?]);
    // The handler of refusals stays.
    let other = rule(0, SeccompCmpOp::Ne, libc::SIGSYS as u64)?;
    calls.insert(libc::SYS_rt_sigaction, vec![other]);
    // Names of threads and, for the C library's benefit, of mappings.
    let naming = [libc::PR_SET_NAME, libc::PR_SET_VMA];
    let naming = naming.map(|option| rule(0, SeccompCmpOp::Eq, option as u64));
    calls.insert(libc::SYS_prctl, naming.into_iter().collect::<Option<_>>()?);
    // Limits are read.
    calls.insert(libc::SYS_prlimit64, vec![rule_of_64_bits(2, 0)?]);
    Some(calls)
}

/// System calls that may be made whatever their arguments.
const FREE: &[i64] = &[
    // Memory.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mincore,
    libc::SYS_membarrier,
    // Generated code lies in a file in memory, which is mapped twice.
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    // What is open already, and files to be read.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_ppoll,
    // Threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    // Refused as unknown by the filter before.
    libc::SYS_clone3,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals.
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Clocks, chance, and what machine this is.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
];

/// The same, of those that only older architectures have.
#[cfg(target_arch = "x86_64")]
const FREE_OF_OLD: &[i64] = &[libc::SYS_poll, libc::SYS_readlink, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const FREE_OF_OLD: &[i64] = &[];

/// That an argument of 32 bits has none of these bits set.
fn none_of(argument: u8, bits: i32) -> Option<SeccompRule> {
    rule(argument, SeccompCmpOp::MaskedEq(bits as u64), 0)
}

/// That an argument of 32 bits compares with a value.
fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Option<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    SeccompRule::new(vec![condition.ok()?]).ok()
}

/// That an argument of 64 bits is a value.
fn rule_of_64_bits(argument: u8, value: u64) -> Option<SeccompRule> {
    let (length, operator) = (SeccompCmpArgLen::Qword, SeccompCmpOp::Eq);
    let condition = SeccompCondition::new(argument, length, operator, value);
    SeccompRule::new(vec![condition.ok()?]).ok()
}
