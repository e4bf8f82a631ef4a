//! The core ABI of wazarr, version 1.
//!
//! A core module that imports nothing, or no more than system calls, which answer "no"
//! ([`crate::wasm::wasi`]). Pointers and lengths are unsigned 32-bit numbers of bytes in its memory; elements
//! of more than one byte are little-endian, arrays in C order.
//!
//! | export | |
//! |---|---|
//! | `memory` | |
//! | `_initialize()` | optional; called once, first |
//! | `wazarr_abi() -> i32` | 1 |
//! | `alloc(len) -> ptr` | aligned to 16 bytes; 0: no memory |
//! | `dealloc(ptr, len)` | |
//! | `configure(json, json_len) -> i32` | optional; called once, 0: accepted; a module without takes no parameters |
//! | `decode(in, in_len, out, out_len) -> i64` | bytes written to `out`; -1: an error; -2: `out` is too small |
//! | `encode(in, in_len, out, out_len) -> i64` | the same; of `decode` and `encode` one may be missing |
//! | `encoded_bound(decoded_len: i64) -> i64` | optional; the longest encoding; -1: unknown |
//! | `decoded_len(in, in_len) -> i64` | optional; length that `in` decodes to; -1: unknown |
//! | `decode_range(in, in_len, out, out_len, first: i64) -> i64` | optional; decoded bytes from `first` on, `out_len` of them; needs `decoded_len` |
//! | `range_bytes() -> i64` | optional; ranges begin at multiples of it, and end at one or at the end; 1 without |
//! | `error_text() -> i64` | optional; `ptr << 32 \| len` of UTF-8, valid until the next call |
//!
//! Input and output lie in memory that the host got from `alloc` and keeps between calls. Where the decoded
//! length is known, as that of a chunk is, `out_len` is exactly it. Otherwise the host asks `encoded_bound`
//! or `decoded_len`, or guesses, and after a -2 calls again with more room.
//!
//! `configure` gets `{"kind": "bytes-bytes", "parameters": {…}, "decoded": {"data_type": "<u2", "shape":
//! [3, 4]}, "encoded": {…}, "fill_value": …}`: `kind` as in the metadata, data types as numpy's `dtype.str`,
//! no fill value where none is known.

mod buffer;
mod ranges;

use std::ops::Range;

use serde_json::json;
use wasmtime::{AsContextMut, Instance, Memory, Store, TypedFunc};

use self::buffer::Buffer;
use self::ranges::Ranges;
use super::{ArrayDescription, Guest, Input, Room, Setup, Take, TakeRange, guest, show};
use crate::wasm::{CompiledModule, HostState, Limits, Session, WasmError};

const VERSION: i32 = 1;
const FAILED: i64 = -1;
const TOO_SMALL: i64 = -2;
const UNKNOWN: i64 = -1;
/// More of a guest's error text is not read.
const ERROR_TEXT_BYTES: usize = 4096;
/// Rooms smaller than this are not worth asking twice.
const MIN_ROOM_BYTES: usize = 4096;

type Coder = TypedFunc<(u32, u32, u32, u32), i64>;

/// What an instance exports.
struct Exports {
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
    dealloc: TypedFunc<(u32, u32), ()>,
    decode: Option<Coder>,
    encode: Option<Coder>,
    encoded_bound: Option<TypedFunc<i64, i64>>,
    decoded_len: Option<TypedFunc<(u32, u32), i64>>,
    ranges: Option<Ranges>,
    error_text: Option<TypedFunc<(), i64>>,
}

/// A guest of this ABI.
struct WazarrGuest {
    session: Session,
    exports: Exports,
    input: Buffer,
    output: Buffer,
}

pub(super) fn instantiate(
    module: &CompiledModule,
    setup: &Setup,
    limits: &Limits,
) -> Result<Box<dyn Guest>, WasmError> {
    let mut session = Session::new(module, limits)?;
    let exports = guest::call(&mut session, |store| {
        let instance = guest::start(store, module, |_| Ok(()))?;
        let mut exports = Exports::of(store, instance)?;
        let version =
            guest::function::<(), i32>(&mut *store, &instance, "wazarr_abi")?.call(&mut *store, ())?;
        if version != VERSION {
            return Err(WasmError::Invalid(format!(
                "it is written for version {version} of the interface, and this is version {VERSION}"
            )));
        }
        exports.configure(store, instance, setup)?;
        exports.ranges = Exports::ranges_of(store, instance)?;
        Ok(exports)
    })?;
    Ok(Box::new(WazarrGuest { session, exports, input: Buffer::default(), output: Buffer::default() }))
}

/// A length or address as the guest counts.
fn narrow(len_bytes: usize) -> Result<u32, WasmError> {
    u32::try_from(len_bytes)
        .map_err(|_| WasmError::Guest(format!("{len_bytes} bytes do not fit in its memory")))
}

fn not_a_length(told: i64) -> WasmError {
    WasmError::Broken(format!("it answered {told} for the length of a result"))
}

fn describe(array: &ArrayDescription) -> serde_json::Value {
    json!({"data_type": array.data_type, "shape": array.shape})
}

impl Exports {
    fn of(store: &mut Store<HostState>, instance: Instance) -> Result<Self, WasmError> {
        let memory = guest::memory(&mut *store, &instance)?;
        Ok(Self {
            memory,
            alloc: guest::function(&mut *store, &instance, "alloc")?,
            dealloc: guest::function(&mut *store, &instance, "dealloc")?,
            decode: guest::optional_function(&mut *store, &instance, "decode")?,
            encode: guest::optional_function(&mut *store, &instance, "encode")?,
            encoded_bound: guest::optional_function(&mut *store, &instance, "encoded_bound")?,
            decoded_len: guest::optional_function(&mut *store, &instance, "decoded_len")?,
            ranges: None,
            error_text: guest::optional_function(&mut *store, &instance, "error_text")?,
        })
    }

    fn configure(
        &self,
        store: &mut Store<HostState>,
        instance: Instance,
        setup: &Setup,
    ) -> Result<(), WasmError> {
        let Some(configure) =
            guest::optional_function::<(u32, u32), i32>(&mut *store, &instance, "configure")?
        else {
            if let Some(name) = setup.parameters.keys().next() {
                return Err(WasmError::Guest(format!("it takes no parameters, and {name:?} is one")));
            }
            return Ok(());
        };
        let mut json = json!({
            "kind": setup.kind.name(),
            "parameters": setup.parameters,
            "decoded": describe(&setup.decoded),
            "encoded": describe(&setup.encoded),
        });
        if let Some(fill_value) = &setup.fill_value {
            json["fill_value"] = fill_value.clone();
        }
        let json = json.to_string();
        let mut buffer = Buffer::default();
        self.fill(store, &mut buffer, Input::Bytes(json.as_bytes()))?;
        let answer = configure.call(&mut *store, (buffer.address, narrow(json.len())?))?;
        if answer != 0 {
            return Err(self.reported(store, "it does not accept its configuration")?);
        }
        self.dealloc.call(store, buffer.allocated)?;
        Ok(())
    }

    /// What the guest says about its failure.
    fn reported(&self, store: &mut Store<HostState>, otherwise: &str) -> Result<WasmError, WasmError> {
        let Some(error_text) = &self.error_text else { return Ok(WasmError::Guest(otherwise.to_owned())) };
        let packed = error_text.call(&mut *store, ())?.cast_unsigned();
        let address = usize::try_from(packed >> 32).unwrap_or(usize::MAX);
        let len_bytes = usize::try_from(packed & 0xffff_ffff).unwrap_or(usize::MAX);
        let text = address.checked_add(len_bytes).and_then(|end| self.memory.data(&*store).get(address..end));
        let Some(text) = text else {
            return Err(WasmError::Broken("its error text lies outside its memory".to_owned()));
        };
        let text = String::from_utf8_lossy(&text[..len_bytes.min(ERROR_TEXT_BYTES)]);
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = text.trim();
        Ok(WasmError::Guest(if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }))
    }
}

impl WazarrGuest {
    /// Runs one of the two functions.
    fn code(
        &mut self,
        is_decode: bool,
        given: Input<'_, '_>,
        room: Room,
        take: &mut Take<'_>,
    ) -> Result<(), WasmError> {
        let Self { session, exports, input, output } = self;
        exports.coder(is_decode)?;
        guest::call(session, |store| {
            let in_len = narrow(given.len_bytes())?;
            exports.fill(store, input, given)?;
            exports.code(store, is_decode, (*input, in_len), output, room, take)
        })
    }
}

impl Exports {
    fn coder(&self, is_decode: bool) -> Result<(&Coder, &'static str), WasmError> {
        let (coder, name) = if is_decode { (&self.decode, "decode") } else { (&self.encode, "encode") };
        let coder = coder.as_ref().ok_or_else(|| WasmError::Missing(format!("export {name:?}")))?;
        Ok((coder, name))
    }

    /// Runs one of the two functions on an input that is in its place.
    fn code(
        &self,
        store: &mut Store<HostState>,
        is_decode: bool,
        (input, in_len): (Buffer, u32),
        output: &mut Buffer,
        room: Room,
        take: &mut Take<'_>,
    ) -> Result<(), WasmError> {
        let (coder, name) = self.coder(is_decode)?;
        let mut room_bytes = match room.expected {
            Some(expected) => expected,
            None => self.guess(store, is_decode, input, in_len)?.max(MIN_ROOM_BYTES).min(room.limit),
        };
        loop {
            self.reserve(store, output, room_bytes)?;
            let out_len = narrow(room_bytes)?;
            let written = coder.call(&mut *store, (input.address, in_len, output.address, out_len))?;
            match written {
                FAILED => return Err(self.reported(store, &format!("it could not {name}"))?),
                // Where it stopped: one more than there was room for, at least.
                TOO_SMALL if room.expected.is_some() || room_bytes >= room.limit => {
                    let actual = room_bytes.saturating_add(1);
                    return Err(WasmError::DecodedLength { expected: room_bytes, actual });
                }
                TOO_SMALL => room_bytes = room_bytes.saturating_mul(2).min(room.limit),
                written => return self.hand_over(store, *output, written, out_len, room, take),
            }
        }
    }

    /// How much room a result of unknown length gets at first.
    fn guess(
        &self,
        store: &mut Store<HostState>,
        is_decode: bool,
        input: Buffer,
        in_len: u32,
    ) -> Result<usize, WasmError> {
        let len = in_len as usize;
        let (told, guess) = if is_decode {
            let told =
                self.decoded_len.as_ref().map(|decoded_len| decoded_len.call(store, (input.address, in_len)));
            (told.transpose()?, len.saturating_mul(4))
        } else {
            let told = self.encoded_bound.as_ref().map(|bound| bound.call(store, i64::from(in_len)));
            (told.transpose()?, len.saturating_add(len / 8).saturating_add(1024))
        };
        match told {
            None | Some(UNKNOWN) => Ok(guess),
            Some(told) => usize::try_from(told).map_err(|_| not_a_length(told)),
        }
    }

    fn hand_over(
        &self,
        store: &mut Store<HostState>,
        output: Buffer,
        written: i64,
        out_len: u32,
        room: Room,
        take: &mut Take<'_>,
    ) -> Result<(), WasmError> {
        let written = usize::try_from(written)
            .ok()
            .filter(|&written| written <= out_len as usize)
            .ok_or_else(|| {
                WasmError::Broken(format!("it says that it wrote {written} bytes into room for {out_len}"))
            })?;
        room.admit(written)?;
        let begin = output.address as usize;
        match self.memory.data(store.as_context_mut()).get(begin..begin + written) {
            Some(result) => take(result),
            None => Err(WasmError::Broken("its memory became smaller".to_owned())),
        }
    }
}

impl Guest for WazarrGuest {
    fn decode(&mut self, encoded: &[u8], room: Room, take: &mut Take<'_>) -> Result<(), WasmError> {
        self.code(true, Input::Bytes(encoded), room, take)
    }

    fn decode_ranges(
        &mut self,
        encoded: Input<'_, '_>,
        decoded_len: usize,
        ranges: &[Range<usize>],
        take: &mut TakeRange<'_>,
    ) -> Result<(), WasmError> {
        let Self { session, exports, input, output } = self;
        exports.coder(true)?;
        guest::call(session, |store| {
            let in_len = narrow(encoded.len_bytes())?;
            exports.fill(store, input, encoded)?;
            let given = (*input, in_len);
            let Some(decoder) = exports.ranges_for(store, given, decoded_len, ranges)? else {
                let room = Room { expected: Some(decoded_len), limit: decoded_len };
                let mut take_all = |decoded: &[u8]| show(decoded, ranges, take);
                return exports.code(store, true, given, output, room, &mut take_all);
            };
            for (at, range) in ranges.iter().enumerate() {
                let mut take_one = |bytes: &[u8]| take(at, bytes);
                exports.code_range(store, decoder, given, output, (range, decoded_len), &mut take_one)?;
            }
            Ok(())
        })
    }

    fn encode(&mut self, decoded: &[u8], room: Room, take: &mut Take<'_>) -> Result<(), WasmError> {
        self.code(false, Input::Bytes(decoded), room, take)
    }

    fn encoded_bound(&mut self, decoded_len: usize) -> Result<Option<usize>, WasmError> {
        let Self { session, exports, .. } = self;
        let Some(bound) = &exports.encoded_bound else { return Ok(None) };
        let decoded_len = i64::from(narrow(decoded_len)?);
        match guest::call(session, |store| Ok(bound.call(store, decoded_len)?))? {
            -1 => Ok(None),
            told => usize::try_from(told)
                .map(Some)
                .map_err(|_| WasmError::Broken(format!("it answered {told} for the bound of an encoding"))),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.session.memory_bytes()
    }
}

#[cfg(test)]
#[path = "wazarr_tests.rs"]
mod tests;
