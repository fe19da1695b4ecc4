//! What wasmi's errors mean for a step.

use ::wasmi::errors::{ErrorKind, InstantiationError};
use ::wasmi::{Error, TrapCode};
use parallax_oracles::{Outcome, Reason, TrapKind};

use crate::engine::host_end::HostEnd;

/// How an error of wasmi's is shown.
pub fn outcome_of(error: &Error) -> Outcome {
    match error.downcast_ref() {
        Some(HostEnd::Trap(kind)) => return Outcome::Trapped(*kind),
        Some(HostEnd::Inconclusive(reason)) => return Outcome::Inconclusive(*reason),
        None => {}
    }
    match error.kind() {
        ErrorKind::Instantiation(error) => return instantiation_outcome(error),
        // Which functions it takes is bounded by its encoding, in numbers of locals, values and branches.
        ErrorKind::Translation(_) => return Outcome::Inconclusive(Reason::Unsupported),
        _ => {}
    }
    let kind = match error.as_trap_code() {
        Some(TrapCode::UnreachableCodeReached) => TrapKind::Unreachable,
        Some(TrapCode::MemoryOutOfBounds) => TrapKind::MemoryOutOfBounds,
        Some(TrapCode::TableOutOfBounds) => TrapKind::TableOutOfBounds,
        Some(TrapCode::IndirectCallToNull) => TrapKind::IndirectCallToNull,
        Some(TrapCode::IntegerDivisionByZero) => TrapKind::IntegerDivisionByZero,
        Some(TrapCode::IntegerOverflow) => TrapKind::IntegerOverflow,
        Some(TrapCode::BadConversionToInteger) => TrapKind::BadConversionToInteger,
        Some(TrapCode::StackOverflow) => TrapKind::StackExhausted,
        Some(TrapCode::BadSignature) => TrapKind::BadSignature,
        Some(TrapCode::OutOfFuel) => return Outcome::Inconclusive(Reason::OutOfFuel),
        Some(TrapCode::OutOfSystemMemory | TrapCode::GrowthOperationLimited) => {
            return Outcome::Inconclusive(Reason::AllocationRefused);
        }
        None => return Outcome::Failed(error.to_string()),
    };
    Outcome::Trapped(kind)
}

fn instantiation_outcome(error: &InstantiationError) -> Outcome {
    match error {
        InstantiationError::MismatchedNumberOfImports { .. }
        | InstantiationError::ImportTypeMismatch { .. }
        | InstantiationError::GlobalTypeMismatch { .. }
        | InstantiationError::FuncTypeMismatch { .. }
        | InstantiationError::TableTypeMismatch { .. }
        | InstantiationError::MemoryTypeMismatch { .. } => Outcome::Unlinkable,
        InstantiationError::ElementSegmentDoesNotFit { .. } => {
            Outcome::Trapped(TrapKind::TableOutOfBounds)
        }
        InstantiationError::TooManyInstances
        | InstantiationError::TooManyTables
        | InstantiationError::TooManyMemories
        | InstantiationError::FailedToInstantiateMemory(_)
        | InstantiationError::FailedToInstantiateTable(_) => {
            Outcome::Inconclusive(Reason::AllocationRefused)
        }
        InstantiationError::UnexpectedStartFn { .. } => Outcome::Failed(error.to_string()),
    }
}
