//! riscv64, as the emulator sees it.

use unicorn_engine::{Arch, Mode, RegisterRISCV, Riscv64CpuModel, uc_error};

use super::processor::{GATE_BYTES, Guest, Processor};
use crate::case::Settings;
use crate::codegen::compiled::LibCall;
use crate::runtime::entry::{HOST_CALLER, Target};

/// The ISA.
pub(super) struct Riscv64;

/// Registers by which a builtin is passed its arguments, the vmctx first: a0 to a5.
const ARGUMENTS: [RegisterRISCV; 6] = [
    RegisterRISCV::X10,
    RegisterRISCV::X11,
    RegisterRISCV::X12,
    RegisterRISCV::X13,
    RegisterRISCV::X14,
    RegisterRISCV::X15,
];

const RETURN_ADDRESS: RegisterRISCV = RegisterRISCV::X1;
const STACK_POINTER: RegisterRISCV = RegisterRISCV::X2;
const FRAME_POINTER: RegisterRISCV = RegisterRISCV::X8;

/// In the status register, that there are registers of floats, and that they were written to.
const FLOATS: u64 = 3 << 13;

impl Guest for Riscv64 {
    fn arch(&self) -> (Arch, Mode) {
        (Arch::RISCV, Mode::RISCV64)
    }

    fn model(&self) -> i32 {
        // All that Unicorn has, which is `gc`.
        Riscv64CpuModel::ANY as i32
    }

    fn gate(&self) -> [u8; GATE_BYTES as usize] {
        // ret
        0x0000_8067_u32.to_le_bytes()
    }

    fn trap(&self) -> [u8; GATE_BYTES as usize] {
        // c.unimp, twice
        [0; 4]
    }

    fn set_up(&self, processor: &mut Processor<'_>) -> Result<(), uc_error> {
        let status = processor.reg_read(RegisterRISCV::MSTATUS)?;
        processor.reg_write(RegisterRISCV::MSTATUS, status | FLOATS)
    }

    fn enter(
        &self,
        processor: &mut Processor<'_>,
        target: Target,
        values: u64,
        top: u64,
        exit: u64,
    ) -> Result<(), uc_error> {
        let registers = [
            (ARGUMENTS[0], target.vmctx),
            (ARGUMENTS[1], HOST_CALLER),
            (ARGUMENTS[2], target.code),
            (ARGUMENTS[3], values),
            (FRAME_POINTER, 0),
            (RETURN_ADDRESS, exit),
            (STACK_POINTER, top),
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
        false
    }

    fn past_exception(&self) -> u64 {
        // As if it were an environment call, however long the instruction was (`cpu_handle_exception`
        // of Unicorn's QEMU).
        4
    }

    fn answer(&self, processor: &mut Processor<'_>, value: u64) -> Result<(), uc_error> {
        processor.reg_write(ARGUMENTS[0], value)
    }

    fn left_at(&self, processor: &Processor<'_>) -> (u64, u64) {
        let read = |register| processor.reg_read(register).unwrap_or_default();
        (read(FRAME_POINTER), read(RETURN_ADDRESS))
    }

    fn stack_pointer(&self, processor: &Processor<'_>) -> u64 {
        processor.reg_read(STACK_POINTER).unwrap_or_default()
    }

    fn go_back(
        &self,
        processor: &mut Processor<'_>,
        stack_pointer: u64,
        (frame_pointer, return_address): (u64, u64),
    ) -> Result<(), uc_error> {
        processor.reg_write(STACK_POINTER, stack_pointer)?;
        processor.reg_write(FRAME_POINTER, frame_pointer)?;
        processor.reg_write(RETURN_ADDRESS, return_address)?;
        processor.set_pc(return_address)
    }

    fn routine(&self, _: &mut Processor<'_>, _: LibCall) -> Result<(), uc_error> {
        // Code for this ISA is made without.
        Err(uc_error::ARG)
    }

    fn stores_vector(&self, _: &Processor<'_>, _: &[u8]) -> Option<u64> {
        // There are no vectors, and nothing else is stored by halves.
        None
    }

    fn lacks(&self, _: &Settings) -> Option<&'static str> {
        None
    }
}
