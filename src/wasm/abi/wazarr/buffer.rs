//! Memory of a guest's that the host keeps between calls.

use wasmtime::Store;

use super::{Exports, Input, MIN_ROOM_BYTES, narrow};
use crate::distance;
use crate::wasm::{HostState, WasmError};

const ALIGNMENT: u32 = 16;
/// A buffer is larger than was asked for by this at most.
const MAX_SLACK_BYTES: usize = 1 << 20;

/// Memory of the guest's that the host got from `alloc`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Buffer {
    /// Where it begins for us: in the host's addresses out of the way of what is copied from and to it.
    pub(super) address: u32,
    /// What `alloc` answered, and for how many bytes; 0 before the first use.
    pub(super) allocated: (u32, u32),
}

impl Buffer {
    /// Length in bytes.
    fn capacity(self) -> usize {
        let (address, len) = self.allocated;
        (address as usize + len as usize).saturating_sub(self.address as usize)
    }
}

/// Buffers shorter than this begin where they are.
const PLACED_BYTES: usize = 16 << 10;

impl Exports {
    /// Makes room for `len_bytes` in a buffer, whose contents are then unspecified.
    pub(super) fn reserve(
        &self,
        store: &mut Store<HostState>,
        buffer: &mut Buffer,
        len_bytes: usize,
    ) -> Result<(), WasmError> {
        if buffer.capacity() >= len_bytes && buffer.capacity() > 0 {
            return Ok(());
        }
        // Chunks of slightly different lengths should not each ask anew.
        let slack = (len_bytes / 8).clamp(MIN_ROOM_BYTES, MAX_SLACK_BYTES);
        let placing = if len_bytes < PLACED_BYTES { 0 } else { distance::SLACK_BYTES };
        let wanted = len_bytes.saturating_add(slack).saturating_add(placing);
        let capacity = narrow(wanted.next_multiple_of(ALIGNMENT as usize))?;
        let old = std::mem::take(buffer);
        if old.capacity() > 0 {
            self.dealloc.call(&mut *store, old.allocated)?;
        }
        let address = self.alloc.call(&mut *store, capacity)?;
        if address == 0 {
            return Err(WasmError::Guest(format!("it has no memory for {capacity} bytes")));
        }
        let end = u64::from(address) + u64::from(capacity);
        if end > self.memory.data_size(&*store) as u64 {
            return Err(WasmError::Broken(format!(
                "its alloc answered {capacity} bytes at {address}, which is outside its memory"
            )));
        }
        if !address.is_multiple_of(ALIGNMENT) {
            return Err(WasmError::Broken(format!(
                "its alloc answered {address}, which is no multiple of {ALIGNMENT}"
            )));
        }
        let host_address = self.memory.data_ptr(&*store).addr().wrapping_add(address as usize);
        let padding = if placing == 0 { 0 } else { narrow(distance::padding(host_address))? };
        // The padding is less than what was asked for beside the bytes.
        *buffer = Buffer { address: address + padding, allocated: (address, capacity) };
        Ok(())
    }

    /// Puts an input into a buffer.
    pub(super) fn fill(
        &self,
        store: &mut Store<HostState>,
        buffer: &mut Buffer,
        input: Input<'_, '_>,
    ) -> Result<(), WasmError> {
        self.reserve(store, buffer, input.len_bytes())?;
        let begin = buffer.address as usize;
        let room = self.memory.data_mut(store).get_mut(begin..begin + input.len_bytes());
        match (room, input) {
            (None, _) => Err(WasmError::Broken("its memory became smaller".to_owned())),
            (Some(room), Input::Bytes(bytes)) => {
                distance::copy(room, bytes);
                Ok(())
            }
            (Some(room), Input::Filled(_, fill)) => {
                if fill(room) {
                    Ok(())
                } else {
                    Err(WasmError::NotFilled)
                }
            }
        }
    }
}
