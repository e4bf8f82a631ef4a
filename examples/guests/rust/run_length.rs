//! Runs of equal bytes as pairs of length and byte.
//!
//! bytes → bytes, without parameters. Built where Rust has the target wasm32-unknown-unknown.
use std::alloc::Layout;
use std::slice::{from_raw_parts, from_raw_parts_mut};

const FAILED: i64 = -1;
const TOO_SMALL: i64 = -2;
const ERROR_TEXT: &str = "not pairs of a length and a byte";

#[no_mangle]
pub extern "C" fn wazarr_abi() -> i32 {
    1
}

#[no_mangle]
pub extern "C" fn alloc(len: usize) -> *mut u8 {
    match Layout::from_size_align(len.max(1), 16) {
        Ok(layout) => unsafe { std::alloc::alloc(layout) },
        Err(_) => std::ptr::null_mut(),
    }
}

#[no_mangle]
pub unsafe extern "C" fn dealloc(pointer: *mut u8, len: usize) {
    std::alloc::dealloc(pointer, Layout::from_size_align_unchecked(len.max(1), 16));
}

#[no_mangle]
pub extern "C" fn error_text() -> i64 {
    (ERROR_TEXT.as_ptr() as i64) << 32 | ERROR_TEXT.len() as i64
}

#[no_mangle]
pub unsafe extern "C" fn decode(input: *const u8, len: usize, output: *mut u8, room: usize) -> i64 {
    let (input, output) = (from_raw_parts(input, len), from_raw_parts_mut(output, room));
    let mut written = 0;
    for pair in input.chunks(2) {
        let &[count, byte] = pair else { return FAILED };
        let end = written + count as usize;
        match output.get_mut(written..end) {
            Some(run) if count > 0 => run.fill(byte),
            Some(_) => return FAILED,
            None => return TOO_SMALL,
        }
        written = end;
    }
    written as i64
}

#[no_mangle]
pub unsafe extern "C" fn encode(input: *const u8, len: usize, output: *mut u8, room: usize) -> i64 {
    let (input, output) = (from_raw_parts(input, len), from_raw_parts_mut(output, room));
    let mut pairs = output.chunks_exact_mut(2);
    let mut written = 0;
    for run in input.chunk_by(|a, b| a == b).flat_map(|run| run.chunks(255)) {
        let Some(pair) = pairs.next() else { return TOO_SMALL };
        pair.copy_from_slice(&[run.len() as u8, run[0]]);
        written += 2;
    }
    written
}

#[no_mangle]
pub extern "C" fn encoded_bound(decoded_len: i64) -> i64 {
    decoded_len * 2
}
