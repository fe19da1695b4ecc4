//! What Wasmtime's errors mean for a step.

use ::wasmtime::{Error, GcHeapOutOfMemory, Trap};
use parallax_oracles::{Outcome, Reason, TrapKind};

use super::Flavour;
use super::objects::HostObject;
use crate::engine::Refusal;
use crate::engine::host_end::HostEnd;

/// An error with its causes, in one line.
pub fn told(error: &Error) -> String {
    let line = format!("{error:#}");
    line.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// How an error of a call is shown. `armed` says whether the host asked for an interrupt in this
/// step; otherwise it was the watchdog, or as much fuel as no program that ends takes.
pub fn of_call(error: &Error, armed: bool) -> Outcome {
    match error.downcast_ref() {
        Some(HostEnd::Trap(kind)) => return Outcome::Trapped(*kind),
        Some(HostEnd::Inconclusive(reason)) => return Outcome::Inconclusive(*reason),
        None => {}
    }
    if error.is::<GcHeapOutOfMemory<()>>() || error.is::<GcHeapOutOfMemory<HostObject>>() {
        return Outcome::Inconclusive(Reason::AllocationRefused);
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return Outcome::Failed(told(error));
    };
    Outcome::Trapped(match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapKind::TableOutOfBounds,
        Trap::IndirectCallToNull => TrapKind::IndirectCallToNull,
        Trap::BadSignature => TrapKind::BadSignature,
        Trap::IntegerOverflow => TrapKind::IntegerOverflow,
        Trap::IntegerDivisionByZero => TrapKind::IntegerDivisionByZero,
        Trap::BadConversionToInteger => TrapKind::BadConversionToInteger,
        Trap::StackOverflow => TrapKind::StackExhausted,
        Trap::Interrupt | Trap::OutOfFuel if armed => TrapKind::Interrupted,
        Trap::Interrupt | Trap::OutOfFuel => return Outcome::Inconclusive(Reason::Timeout),
        Trap::AllocationTooLarge => return Outcome::Inconclusive(Reason::AllocationRefused),
        _ => return Outcome::Failed(told(error)),
    })
}

/// How an error of an instantiation is shown.
pub fn of_instantiation(error: &Error) -> Outcome {
    // What has no type of its own is told by what it says.
    let text = told(error);
    if text.contains("incompatible import type") {
        return Outcome::Unlinkable;
    }
    if text.contains("exceeds memory limits")
        || text.contains("exceeds table limits")
        || text.contains("resource limit exceeded")
        || text.contains("failed to create memory")
    {
        return Outcome::Inconclusive(Reason::AllocationRefused);
    }
    of_call(error, false)
}

/// What it means that Wasmtime makes no module of one that is valid.
pub fn of_compilation(error: &Error, flavour: Flavour) -> Refusal {
    let text = told(error);
    // Winch is not complete, and says what it lacks.
    let lacking = [
        "Unsupported Wasm type",
        "Unimplemented Wasm instruction",
        "Unimplemented Masm instruction",
        "Instruction not implemented for CPUs",
        "Unsupported eager initialization of tables",
        "tail calls support is not enabled",
        "relaxed SIMD support is not enabled",
    ];
    let lacks = lacking.iter().find(|lack| text.contains(**lack));
    match lacks {
        Some(lack) if flavour == Flavour::Winch => Refusal::Unsupported((*lack).to_string()),
        _ => Refusal::Invalid(text),
    }
}
