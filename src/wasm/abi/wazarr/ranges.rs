//! Parts of a chunk that are decoded alone.

use std::ops::Range;

use wasmtime::{Instance, Store, TypedFunc};

use super::{Buffer, Exports, FAILED, Room, Take, UNKNOWN, guest, narrow, not_a_length, show};
use crate::wasm::{HostState, WasmError};

/// How parts of what is encoded are decoded alone.
pub(super) struct Ranges {
    decode: TypedFunc<(u32, u32, u32, u32, i64), i64>,
    /// They begin at multiples of so many bytes, and end at one or at the end.
    step_bytes: usize,
}

impl Ranges {
    /// The shortest range that can be decoded and holds all of `range`.
    fn around(&self, range: &Range<usize>, decoded_len: usize) -> Range<usize> {
        let end = range.end.checked_next_multiple_of(self.step_bytes).unwrap_or(decoded_len);
        range.start / self.step_bytes * self.step_bytes..end.min(decoded_len)
    }
}

impl Exports {
    pub(super) fn ranges_of(
        store: &mut Store<HostState>,
        instance: Instance,
    ) -> Result<Option<Ranges>, WasmError> {
        let Some(decode) = guest::optional_function(&mut *store, &instance, "decode_range")? else {
            return Ok(None);
        };
        let step = guest::optional_function::<(), i64>(&mut *store, &instance, "range_bytes")?;
        let told = step.map_or(Ok(1), |step| step.call(&mut *store, ()))?;
        match usize::try_from(told) {
            Ok(step_bytes) if step_bytes > 0 => Ok(Some(Ranges { decode, step_bytes })),
            _ => Err(WasmError::Broken(format!("it answered {told} for what ranges are multiples of"))),
        }
    }

    /// The function that decodes parts, if it hardly decodes more for these than that for the whole. An input that it
    /// says decodes to something else is refused.
    pub(super) fn ranges_for(
        &self,
        store: &mut Store<HostState>,
        (input, in_len): (Buffer, u32),
        decoded_len: usize,
        wanted: &[Range<usize>],
    ) -> Result<Option<&Ranges>, WasmError> {
        let Some((ranges, len_of)) = self.ranges.as_ref().zip(self.decoded_len.as_ref()) else {
            return Ok(None);
        };
        if matches!(wanted, [all] if all.len() == decoded_len) {
            return Ok(None);
        }
        let parts = wanted.iter().map(|range| ranges.around(range, decoded_len).len());
        if parts.fold(0, usize::saturating_add) > decoded_len.saturating_add(decoded_len / 8) {
            return Ok(None);
        }
        let told = len_of.call(store, (input.address, in_len))?;
        match usize::try_from(told) {
            Ok(told) if told == decoded_len => Ok(Some(ranges)),
            Ok(actual) => Err(WasmError::DecodedLength { expected: decoded_len, actual }),
            Err(_) if told == UNKNOWN => Ok(None),
            Err(_) => Err(not_a_length(told)),
        }
    }

    /// Decodes one part, and hands on what was wanted of it.
    pub(super) fn code_range(
        &self,
        store: &mut Store<HostState>,
        ranges: &Ranges,
        (input, in_len): (Buffer, u32),
        output: &mut Buffer,
        (wanted, decoded_len): (&Range<usize>, usize),
        take: &mut Take<'_>,
    ) -> Result<(), WasmError> {
        let part = ranges.around(wanted, decoded_len);
        self.reserve(store, output, part.len())?;
        let first = i64::try_from(part.start)
            .map_err(|_| WasmError::Guest(format!("no range begins at byte {}", part.start)))?;
        let out_len = narrow(part.len())?;
        let call = (input.address, in_len, output.address, out_len, first);
        match ranges.decode.call(&mut *store, call)? {
            FAILED => Err(self.reported(store, "it could not decode")?),
            written if written == i64::from(out_len) => {
                let room = Room { expected: Some(part.len()), limit: part.len() };
                let within = wanted.start - part.start..wanted.end.saturating_sub(part.start);
                let mut take_one = |_: usize, bytes: &[u8]| take(bytes);
                self.hand_over(store, *output, written, out_len, room, &mut |bytes| {
                    show(bytes, std::slice::from_ref(&within), &mut take_one)
                })
            }
            written => Err(WasmError::Broken(format!(
                "it says that it wrote {written} bytes where a range of {out_len} was asked for"
            ))),
        }
    }
}
