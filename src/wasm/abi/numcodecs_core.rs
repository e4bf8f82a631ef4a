//! numcodecs components, called through the core module inside: no copy of the data but the one that goes in.
//!
//! The first core module of such a component is the codec itself. Around it the component only converts
//! arguments and answers system calls in a second module; here both are done directly, as the component model
//! lays values out in memory:
//!
//! ```text
//!  from-config(ptr, len)                            -> ret   u8 error? @0 | handle @4           error: as below
//!  encode, decode(handle, ARRAY)                    -> ret   u8 error? @0 | u8 type @4, ptr @8, len @12,
//!  decode-into(handle, ARRAY, type, shape, axes)    -> ret                  shape @16, axes @20
//!  ARRAY = type, ptr, len (elements), shape, axes            error: message @4, len @8, causes @12, count @16
//! ```
//! Arguments are put where `cabi_realloc` says and belong to the guest from then on; an answer is given back
//! with `cabi_post_` and the function's name once it has been looked at.
//!
//! Departure from the component: decoding asks for no array of a given type and shape at first. Guests make
//! such an array, clear it and copy into it, which costs as much as fast codecs do; so this is tried when the
//! guest cannot do without.

use wasmtime::{Memory, Store, TypedFunc};

use super::any_array::{Answer, Element, Side, Sides, configuration, hand_on, of_two, with_causes};
use super::guest::{self, call, function, length, optional_function, part, put, word};
use super::{ArrayDescription, Guest, Room, Setup, Take};
use crate::wasm::{CompiledModule, HostState, Limits, Session, WasmError};

/// Ends the name of the first function that is called; before it stands the interface.
const FROM_CONFIG: &str = "#[static]codec.from-config";

/// A codec object in its guest.
struct NumcodecsCore {
    session: Session,
    codec: Codec,
    sides: Sides,
    last_answer: Option<ArrayDescription>,
}

struct Codec {
    memory: Memory,
    realloc: TypedFunc<(u32, u32, u32, u32), u32>,
    handle: u32,
    encode: Function<(u32, u32, u32, u32, u32, u32)>,
    decode: Function<(u32, u32, u32, u32, u32, u32)>,
    decode_into: Option<Function<ArrayAndPrototype>>,
}

/// Handle and array, and type and shape of the array to make.
type ArrayAndPrototype = (u32, u32, u32, u32, u32, u32, u32, u32, u32);

/// A function, and the one that takes its answer back.
struct Function<P> {
    call: TypedFunc<P, u32>,
    give_back: Option<TypedFunc<u32, ()>>,
}

/// Which of the guest's functions.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Action {
    Encode,
    Decode,
    DecodeInto,
}

/// Whether an import of the core module is answered when it is called directly.
pub(in crate::wasm) fn is_import_answered(module: &str, name: &str) -> bool {
    let is_handle = module.starts_with("[export]numcodecs:abc/codec@")
        && ["[resource-new]codec", "[resource-rep]codec", "[resource-drop]codec"].contains(&name);
    is_handle || crate::wasm::wasi::is_core_import_answered(module, name)
}

pub(super) fn instantiate(
    module: &CompiledModule,
    setup: &Setup,
    limits: &Limits,
) -> Result<Box<dyn Guest>, WasmError> {
    let sides = Sides::of(setup)?;
    let core = module.core()?;
    let interface = core.exports().find_map(|export| export.name().strip_suffix(FROM_CONFIG));
    let interface =
        interface.ok_or_else(|| WasmError::Missing("export the functions of a codec".to_owned()))?.to_owned();
    let mut session = Session::new(module, limits)?;
    let codec = call(&mut session, |store| Codec::new(store, module, &interface, &configuration(setup)))?;
    Ok(Box::new(NumcodecsCore { session, codec, sides, last_answer: None }))
}

impl Codec {
    fn new(
        store: &mut Store<HostState>,
        module: &CompiledModule,
        interface: &str,
        json: &str,
    ) -> Result<Self, WasmError> {
        // There is one codec object, which we hold: its number may be its address.
        let instance = guest::start(store, module, |linker| {
            let handles = format!("[export]{interface}");
            linker.func_wrap(&handles, "[resource-new]codec", |address: u32| address)?;
            linker.func_wrap(&handles, "[resource-rep]codec", |handle: u32| handle)?;
            linker.func_wrap(&handles, "[resource-drop]codec", |_: u32| {})?;
            Ok(())
        })?;
        let name = |function: &str| format!("{interface}#[method]codec.{function}");
        let from_config = Function::find(store, &instance, &format!("{interface}{FROM_CONFIG}"))?
            .ok_or_else(|| WasmError::Missing("make codecs".to_owned()))?;
        let missing = |what: &str| WasmError::Missing(what.to_owned());
        let mut codec = Self {
            memory: guest::memory(&mut *store, &instance)?,
            realloc: function(&mut *store, &instance, "cabi_realloc")?,
            handle: 0,
            encode: Function::find(store, &instance, &name("encode"))?.ok_or_else(|| missing("encode"))?,
            decode: Function::find(store, &instance, &name("decode"))?.ok_or_else(|| missing("decode"))?,
            decode_into: Function::find(store, &instance, &name("decode-into"))?,
        };
        let (pointer, len) = (codec.copy_in(store, json.as_bytes(), 1)?, length(json.len())?);
        let at = from_config.call.call(&mut *store, (pointer, len))?;
        let handle = codec.answer(store, at, |_, record| word(record, 4))?;
        from_config.give_back(store, at)?;
        codec.handle = handle?;
        Ok(codec)
    }

    /// Copies an argument into memory that the guest makes for it.
    fn copy_in(&self, store: &mut Store<HostState>, bytes: &[u8], align: u32) -> Result<u32, WasmError> {
        let pointer = self.realloc.call(&mut *store, (0, 0, align, length(bytes.len())?))?;
        if !pointer.is_multiple_of(align) {
            return Err(WasmError::Broken(format!("its memory at {pointer} is not aligned to {align}")));
        }
        put(self.memory.data_mut(store), pointer, bytes)?;
        Ok(pointer)
    }

    fn copy_shape_in(&self, store: &mut Store<HostState>, side: &Side) -> Result<(u32, u32), WasmError> {
        let bytes: Vec<u8> = side.shape.iter().flat_map(|axis| axis.to_le_bytes()).collect();
        Ok((self.copy_in(store, &bytes, 4)?, length(side.shape.len())?))
    }

    /// Looks at the answer at `at`. The inner result is the guest's: an error of its own, or what `look` makes
    /// of memory and answer; either way the guest is to be given its answer back.
    fn answer<T>(
        &self,
        store: &Store<HostState>,
        at: u32,
        look: impl FnOnce(&[u8], &[u8]) -> Result<T, WasmError>,
    ) -> Result<Result<T, WasmError>, WasmError> {
        let memory = self.memory.data(store);
        let is_error = part(memory, at, 1)?[0];
        match is_error {
            0 => {
                let rest = memory.get(at as usize..).unwrap_or_default();
                Ok(look(memory, rest))
            }
            1 => {
                let record = part(memory, at, 20)?;
                let message = part(memory, word(record, 4)?, word(record, 8)? as usize)?;
                let count = word(record, 16)? as usize;
                let causes = part(memory, word(record, 12)?, count.saturating_mul(8))?.chunks_exact(8);
                let texts = causes.map_while(|pair| {
                    let text = part(memory, word(pair, 0).ok()?, word(pair, 4).ok()? as usize);
                    text.ok().map(|text| text[..text.len().min(1 << 10)].to_vec())
                });
                Ok(Err(with_causes(message, texts)))
            }
            other => Err(WasmError::Broken(format!("its answer is neither result nor error, but {other}"))),
        }
    }

    /// One call: data in, `take` on the answer, everything given back.
    fn run<T>(
        &self,
        store: &mut Store<HostState>,
        action: Action,
        sides: &Sides,
        data: &[u8],
        take: impl FnOnce(&Answer<'_>) -> Result<T, WasmError>,
    ) -> Result<T, WasmError> {
        let is_decoding = action != Action::Encode;
        let input = sides.input(is_decoding, data)?;
        let size = input.element.size();
        let pointer = self.copy_in(store, data, length(size)?)?;
        let (shape, axes) = self.copy_shape_in(store, &input)?;
        let (number, len) = (input.element.number(), length(data.len() / size)?);
        let look = |memory: &[u8], record: &[u8]| {
            let record = record.get(..24).unwrap_or(record);
            let element = Element::from_number(u32::from(word(record, 4)?.to_le_bytes()[0]))?;
            let (pointer, len) = (word(record, 8)?, word(record, 12)? as usize);
            let (shape, axes) = (word(record, 16)?, word(record, 20)? as usize);
            let bytes = part(memory, pointer, len.saturating_mul(element.size()))?;
            let shape = part(memory, shape, axes.saturating_mul(4))?;
            let shape = shape.as_chunks::<4>().0.iter().map(|axis| u32::from_le_bytes(*axis)).collect();
            let answer = Answer::new(element, shape, bytes)?;
            sides.check(is_decoding, &answer)?;
            take(&answer)
        };
        let function = match action {
            Action::Encode => &self.encode,
            Action::Decode => &self.decode,
            Action::DecodeInto => {
                let missing = || WasmError::Missing("decode into an array of a given type".to_owned());
                let function = self.decode_into.as_ref().ok_or_else(missing)?;
                let prototype = sides.prototype().ok_or_else(missing)?;
                let (new_shape, new_axes) = self.copy_shape_in(store, prototype)?;
                let array = (self.handle, number, pointer, len, shape, axes);
                let new = (prototype.element.number(), new_shape, new_axes);
                let arguments = (array.0, array.1, array.2, array.3, array.4, array.5, new.0, new.1, new.2);
                let at = function.call.call(&mut *store, arguments)?;
                let result = self.answer(store, at, look)?;
                function.give_back(store, at)?;
                return result;
            }
        };
        let at = function.call.call(&mut *store, (self.handle, number, pointer, len, shape, axes))?;
        let result = self.answer(store, at, look)?;
        function.give_back(store, at)?;
        result
    }
}

impl<P: wasmtime::WasmParams> Function<P> {
    fn find(
        store: &mut Store<HostState>,
        instance: &wasmtime::Instance,
        name: &str,
    ) -> Result<Option<Self>, WasmError> {
        let Some(call) = optional_function(&mut *store, instance, name)? else { return Ok(None) };
        let give_back = optional_function(&mut *store, instance, &format!("cabi_post_{name}"))?;
        Ok(Some(Self { call, give_back }))
    }

    fn give_back(&self, store: &mut Store<HostState>, at: u32) -> Result<(), WasmError> {
        match &self.give_back {
            Some(give_back) => Ok(give_back.call(store, at)?),
            None => Ok(()),
        }
    }
}

impl Guest for NumcodecsCore {
    fn decode(&mut self, encoded: &[u8], room: Room, take: &mut Take<'_>) -> Result<(), WasmError> {
        let Self { session, codec, sides, last_answer } = self;
        let mut hand_on = hand_on(room, take, last_answer);
        let mut run = |action| call(session, |store| codec.run(store, action, sides, encoded, &mut hand_on));
        let first = run(Action::Decode);
        let may_be_told = codec.decode_into.is_some() && sides.prototype().is_some();
        if may_be_told && matches!(first, Err(WasmError::Guest(_))) {
            let second = run(Action::DecodeInto);
            return of_two(first, second);
        }
        first
    }

    fn encode(&mut self, decoded: &[u8], room: Room, take: &mut Take<'_>) -> Result<(), WasmError> {
        let Self { session, codec, sides, last_answer } = self;
        let hand_on = hand_on(room, take, last_answer);
        call(session, |store| codec.run(store, Action::Encode, sides, decoded, hand_on))
    }

    fn last_answer(&self) -> Option<&ArrayDescription> {
        self.last_answer.as_ref()
    }

    fn memory_bytes(&self) -> usize {
        self.session.memory_bytes()
    }
}
