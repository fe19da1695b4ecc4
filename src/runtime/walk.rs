//! Reading the frames of generated code.
//!
//! # Invariants
//! - Generated code keeps frame pointers, so from the frame pointer at an exit the chain leads
//!   through wasm frames and trampolines to the frame that entered wasm.
//! - Frames are only read while the thread is out of wasm in a builtin, so they do not change.
//! - Every address read lies between the exit's frame pointer, or as far below it as wasm's stack
//!   is large, and the entry's frame pointer.

use super::entry::Activation;
use super::host_isa;

/// The bits of an address. On aarch64, those above may hold the signature of a return address that
/// lies in a frame; on an aarch64 host, which may have fewer bits of address than that, others as well.
const ADDRESS_MASK: u64 = (1 << 48) - 1;

/// One frame: where execution goes on in it, and its frame pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The return address, in the frame's function.
    pub return_address: u64,
    /// The frame pointer.
    pub frame_pointer: u64,
}

/// What is done with a frame; given a way to read its words.
pub type Visit<'a> = dyn FnMut(Frame, &dyn Fn(u64) -> Option<u64>) + 'a;

/// Calls `visit` for every frame from the newest exit outwards, over all entries of the thread,
/// with a way to read words of the frames of wasm; there are none at other addresses.
///
/// # Safety
/// `activation` must be the thread's current one and `exit` the last exit from wasm: frame
/// pointer and return address.
pub unsafe fn walk(mut activation: *const Activation, mut exit: (u64, u64), visit: &mut Visit<'_>) {
    // SAFETY: outer activations are alive while an inner one is current.
    while let Some(entry) = unsafe { activation.as_ref() } {
        let end = entry.entry_frame_pointer();
        let (mut frame_pointer, mut return_address) = exit;
        let lowest = frame_pointer
            .saturating_sub(super::entry::WASM_STACK_BYTES)
            .max(entry.stack_end());
        while frame_pointer < end && frame_pointer.is_multiple_of(8) && frame_pointer != 0 {
            let read = |address: u64| {
                let readable = address.is_multiple_of(8) && (lowest..end).contains(&address);
                // SAFETY: between the exit and the entry all is stack of this thread.
                readable.then(|| unsafe {
                    std::ptr::with_exposed_provenance::<u64>(address as usize).read()
                })
            };
            visit(
                Frame {
                    return_address,
                    frame_pointer,
                },
                &read,
            );
            let Some(outer) = read(frame_pointer).filter(|outer| *outer > frame_pointer) else {
                break;
            };
            let signed = read(frame_pointer + 8).unwrap_or_default();
            return_address = host_isa::unsigned(signed) & ADDRESS_MASK;
            frame_pointer = outer;
        }
        exit = entry.outer_exit();
        activation = entry.outer();
    }
}
