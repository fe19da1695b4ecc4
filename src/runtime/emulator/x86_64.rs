//! x86-64, as the emulator sees it.

use unicorn_engine::{Arch, Mode, RegisterX86, X86CpuModel, uc_error};

use super::phadd::OfItself;
use super::processor::{GATE_BYTES, Guest, Processor};
use crate::case::Settings;
use crate::case::features::{Feature, X86Feature, X86Features};
use crate::codegen::compiled::LibCall;
use crate::runtime::entry::{HOST_CALLER, Target};
use crate::runtime::{libcalls, misaligned};

/// The ISA.
pub(super) struct X86_64;

/// Registers by which a function is passed its arguments, the vmctx first.
const ARGUMENTS: [RegisterX86; 6] = [
    RegisterX86::RDI,
    RegisterX86::RSI,
    RegisterX86::RDX,
    RegisterX86::RCX,
    RegisterX86::R8,
    RegisterX86::R9,
];

/// Registers by which a routine is passed its arguments, and returns in the first.
const VECTORS: [RegisterX86; 3] = [RegisterX86::XMM0, RegisterX86::XMM1, RegisterX86::XMM2];

/// The general registers, in the order in which instructions number them.
const REGISTERS: [RegisterX86; 16] = [
    RegisterX86::RAX,
    RegisterX86::RCX,
    RegisterX86::RDX,
    RegisterX86::RBX,
    RegisterX86::RSP,
    RegisterX86::RBP,
    RegisterX86::RSI,
    RegisterX86::RDI,
    RegisterX86::R8,
    RegisterX86::R9,
    RegisterX86::R10,
    RegisterX86::R11,
    RegisterX86::R12,
    RegisterX86::R13,
    RegisterX86::R14,
    RegisterX86::R15,
];

/// The control and status register as processes find it: round to nearest, no exception.
const MXCSR: u64 = 0x1f80;

/// What Unicorn's translator, that of QEMU 5.0, has: nothing that works on registers of AVX.
fn features() -> X86Features {
    [X86Feature::Bmi1, X86Feature::Bmi2, X86Feature::Lzcnt]
        .into_iter()
        .fold(X86Features::SSE42, X86Features::with)
}

impl Guest for X86_64 {
    fn arch(&self) -> (Arch, Mode) {
        (Arch::X86, Mode::MODE_64)
    }

    fn model(&self) -> i32 {
        X86CpuModel::HASWELL as i32
    }

    fn gate(&self) -> [u8; GATE_BYTES as usize] {
        // ret
        [0xc3, 0xcc, 0xcc, 0xcc]
    }

    fn trap(&self) -> [u8; GATE_BYTES as usize] {
        // ud2
        [0x0f, 0x0b, 0xcc, 0xcc]
    }

    fn set_up(&self, processor: &mut Processor<'_>) -> Result<(), uc_error> {
        processor.reg_write(RegisterX86::MXCSR, MXCSR)
    }

    fn enter(
        &self,
        processor: &mut Processor<'_>,
        target: Target,
        values: u64,
        top: u64,
        exit: u64,
    ) -> Result<(), uc_error> {
        // As a call leaves it: the return address on top of the stack, which was aligned.
        let stack_pointer = top - 8;
        super::write_stack(processor, stack_pointer, exit);
        let registers = [
            (RegisterX86::RDI, target.vmctx),
            (RegisterX86::RSI, HOST_CALLER),
            (RegisterX86::RDX, target.code),
            (RegisterX86::RCX, values),
            (RegisterX86::RBP, 0),
            (RegisterX86::RSP, stack_pointer),
        ];
        for (register, value) in registers {
            processor.reg_write(register, value)?;
        }
        Ok(())
    }

    fn arguments(&self, processor: &Processor<'_>) -> [u64; 6] {
        ARGUMENTS.map(|register| processor.reg_read(register).unwrap_or_default())
    }

    fn extends_arguments(&self) -> bool {
        true
    }

    fn remembers_exceptions(&self) -> bool {
        // A second fault of a division would be a double fault, and the third end the machine.
        true
    }

    fn answer(&self, processor: &mut Processor<'_>, value: u64) -> Result<(), uc_error> {
        processor.reg_write(RegisterX86::RAX, value)
    }

    fn left_at(&self, processor: &Processor<'_>) -> (u64, u64) {
        let read = |register| processor.reg_read(register).unwrap_or_default();
        let return_address = super::read_stack(processor, read(RegisterX86::RSP));
        (read(RegisterX86::RBP), return_address.unwrap_or_default())
    }

    fn stack_pointer(&self, processor: &Processor<'_>) -> u64 {
        processor.reg_read(RegisterX86::RSP).unwrap_or_default()
    }

    fn go_back(
        &self,
        processor: &mut Processor<'_>,
        stack_pointer: u64,
        (frame_pointer, return_address): (u64, u64),
    ) -> Result<(), uc_error> {
        // The return address was on top of the stack.
        processor.reg_write(RegisterX86::RSP, stack_pointer + 8)?;
        processor.reg_write(RegisterX86::RBP, frame_pointer)?;
        processor.set_pc(return_address)
    }

    fn routine(&self, processor: &mut Processor<'_>, call: LibCall) -> Result<(), uc_error> {
        let mut arguments = [0; VECTORS.len()];
        for (argument, register) in arguments.iter_mut().zip(VECTORS) {
            let bytes = processor.reg_read_long(register)?;
            let bytes = <[u8; 16]>::try_from(&*bytes).map_err(|_| uc_error::ARG)?;
            *argument = u128::from_le_bytes(bytes);
        }
        let result = libcalls::evaluate(call, arguments);
        processor.reg_write_long(VECTORS[0], &result.to_le_bytes())
    }

    fn stores_vector(&self, processor: &Processor<'_>, code: &[u8]) -> Option<u64> {
        let instruction = misaligned::SseInstruction::decode(code)?;
        let read = |register| processor.reg_read(register).unwrap_or_default();
        instruction.stores_vector(&REGISTERS.map(read))
    }

    fn gets_wrong(&self, code: &[u8]) -> Vec<(usize, OfItself)> {
        OfItself::all(code)
    }

    fn lacks(&self, settings: &Settings) -> Option<&'static str> {
        settings.x86_64.beyond(features()).next().map(Feature::name)
    }
}
