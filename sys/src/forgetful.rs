//! An allocator for programs through which secrets pass.

use std::alloc::{GlobalAlloc, Layout, System};

/// Longer memory is given back as it is: it is buffers through which the bytes of services go, a
/// record of TLS at a time, and overwriting it would cost as much as a tenth of sealing it.
const OVERWRITTEN_UP_TO: usize = 8 * 1024;

/// The system's allocator, which overwrites memory of at most 8 KiB when it is given back: also
/// what libraries have copied, and what a vector leaves behind when it grows.
///
/// To be used as `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgetful;

// SAFETY: all memory is the system allocator's, with the very layouts that are asked for.
unsafe impl GlobalAlloc for Forgetful {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    // `realloc` is the trait's own: memory that moves is given back by `dealloc`.

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if layout.size() <= OVERWRITTEN_UP_TO {
            // SAFETY: the caller gives back a whole allocation of that layout, which nobody reads.
            unsafe { libc::explicit_bzero(memory.cast(), layout.size()) };
        }
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}
