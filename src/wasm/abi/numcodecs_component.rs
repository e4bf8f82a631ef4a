//! numcodecs components whose insides are not as [`super::numcodecs_core`] wants them: called through the
//! component model, with types.
//!
//! Slower: elements are copied into memory of their own type before they go in, and twice on the way out.

use wasmtime::Store;
use wasmtime::component::{ComponentType, Lift, Lower, ResourceAny, TypedFunc};

use super::any_array::{Answer, Element, Side, Sides, configuration, hand_on, of_two, with_causes};
use super::component::{self, fault, limit_result};
use super::guest::call;
use super::{ArrayDescription, Guest, Room, Setup, Take};
use crate::wasm::{CompiledModule, HostState, Limits, Session, WasmError};

/// What may come back where no data does.
const NO_DATA: Room = Room { expected: None, limit: 1 << 16 };

#[derive(ComponentType, Lift)]
#[component(record)]
struct Failure {
    message: String,
    chain: Vec<String>,
}

/// Elements on their way in or out.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Elements {
    #[component(name = "u8")]
    U8(Vec<u8>),
    #[component(name = "u16")]
    U16(Vec<u16>),
    #[component(name = "u32")]
    U32(Vec<u32>),
    #[component(name = "u64")]
    U64(Vec<u64>),
    #[component(name = "i8")]
    I8(Vec<i8>),
    #[component(name = "i16")]
    I16(Vec<i16>),
    #[component(name = "i32")]
    I32(Vec<i32>),
    #[component(name = "i64")]
    I64(Vec<i64>),
    #[component(name = "f32")]
    F32(Vec<f32>),
    #[component(name = "f64")]
    F64(Vec<f64>),
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct AnyArray {
    data: Elements,
    shape: Vec<u32>,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
enum ElementType {
    #[component(name = "u8")]
    U8,
    #[component(name = "u16")]
    U16,
    #[component(name = "u32")]
    U32,
    #[component(name = "u64")]
    U64,
    #[component(name = "i8")]
    I8,
    #[component(name = "i16")]
    I16,
    #[component(name = "i32")]
    I32,
    #[component(name = "i64")]
    I64,
    #[component(name = "f32")]
    F32,
    #[component(name = "f64")]
    F64,
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Prototype {
    dtype: ElementType,
    shape: Vec<u32>,
}

/// Bytes as numbers of one type, and back.
macro_rules! conversions {
    ($($case:ident $number:ident)*) => {
        impl Elements {
            fn from_bytes(element: Element, bytes: &[u8]) -> Self {
                match element {
                    $(Element::$case => {
                        let words = bytes.as_chunks().0.iter();
                        Self::$case(words.map(|word| $number::from_le_bytes(*word)).collect())
                    })*
                }
            }

            fn into_bytes(self) -> (Element, Vec<u8>) {
                match self {
                    $(Self::$case(numbers) => {
                        let mut bytes = vec![0; size_of::<$number>() * numbers.len()];
                        for (word, number) in bytes.as_chunks_mut().0.iter_mut().zip(&numbers) {
                            *word = number.to_le_bytes();
                        }
                        (Element::$case, bytes)
                    })*
                }
            }
        }

        impl From<Element> for ElementType {
            fn from(element: Element) -> Self {
                match element {
                    $(Element::$case => Self::$case,)*
                }
            }
        }
    };
}

conversions! { U8 u8 U16 u16 U32 u32 U64 u64 I8 i8 I16 i16 I32 i32 I64 i64 F32 f32 F64 f64 }

type FromConfig = TypedFunc<(&'static str,), (Result<ResourceAny, Failure>,)>;
type Method = TypedFunc<(ResourceAny, AnyArray), (Result<AnyArray, Failure>,)>;
type IntoMethod = TypedFunc<(ResourceAny, AnyArray, Prototype), (Result<AnyArray, Failure>,)>;

/// A codec object in its guest.
struct NumcodecsComponent {
    session: Session,
    codec: ResourceAny,
    encode: Method,
    decode: Method,
    decode_into: Option<IntoMethod>,
    sides: Sides,
    last_answer: Option<ArrayDescription>,
}

pub(super) fn instantiate(
    module: &CompiledModule,
    setup: &Setup,
    limits: &Limits,
) -> Result<Box<dyn Guest>, WasmError> {
    let sides = Sides::of(setup)?;
    let json = configuration(setup);
    let mut session = Session::new(module, limits)?;
    let (codec, encode, decode, decode_into) = call(&mut session, |store| {
        let instance = component::start(store, module)?;
        let interface = component::interface(store, module, &instance, "numcodecs:abc/codec")?;
        let missing = |what: &str| WasmError::Missing(what.to_owned());
        let from_config: Option<FromConfig> =
            component::function(store, &instance, Some(&interface), "[static]codec.from-config")?;
        let encode = component::function(store, &instance, Some(&interface), "[method]codec.encode")?;
        let decode = component::function(store, &instance, Some(&interface), "[method]codec.decode")?;
        let decode_into =
            component::function(store, &instance, Some(&interface), "[method]codec.decode-into")?;
        limit_result(store, NO_DATA);
        let from_config = from_config.ok_or_else(|| missing("make codecs"))?;
        let (codec,) = from_config.call(&mut *store, (json.as_str(),)).map_err(fault)?;
        let codec = codec.map_err(Failure::into_error)?;
        let encode = encode.ok_or_else(|| missing("encode"))?;
        Ok((codec, encode, decode.ok_or_else(|| missing("decode"))?, decode_into))
    })?;
    let last_answer = None;
    Ok(Box::new(NumcodecsComponent { session, codec, encode, decode, decode_into, sides, last_answer }))
}

impl Failure {
    fn into_error(self) -> WasmError {
        with_causes(self.message.as_bytes(), self.chain.into_iter().map(String::into_bytes))
    }
}

impl NumcodecsComponent {
    /// One call, of `function`; the answer is a copy of ours.
    fn run<T>(
        &mut self,
        is_decoding: bool,
        data: &[u8],
        room: Room,
        function: impl FnOnce(&mut Store<HostState>, AnyArray) -> wasmtime::Result<(Result<AnyArray, Failure>,)>,
        take: impl FnOnce(&Answer<'_>) -> Result<T, WasmError>,
    ) -> Result<T, WasmError> {
        let Side { element, shape } = self.sides.input(is_decoding, data)?;
        let array = AnyArray { data: Elements::from_bytes(element, data), shape };
        let answer = call(&mut self.session, |store| {
            limit_result(store, room);
            let (answer,) = function(store, array).map_err(fault)?;
            answer.map_err(Failure::into_error)
        })?;
        let (element, bytes) = answer.data.into_bytes();
        let answer = Answer::new(element, answer.shape, &bytes)?;
        self.sides.check(is_decoding, &answer)?;
        take(&answer)
    }
}

impl Guest for NumcodecsComponent {
    fn decode(&mut self, encoded: &[u8], room: Room, take: &mut Take<'_>) -> Result<(), WasmError> {
        let (codec, decode) = (self.codec, self.decode);
        let mut last_answer = None;
        let mut hand_on = hand_on(room, take, &mut last_answer);
        let call = |store: &mut Store<HostState>, array| decode.call(store, (codec, array));
        let mut result = self.run(true, encoded, room, call, &mut hand_on);
        let prototype = self.sides.prototype().cloned();
        if let (Err(WasmError::Guest(_)), Some(decode_into), Some(prototype)) =
            (&result, self.decode_into, prototype)
        {
            let prototype = Prototype { dtype: prototype.element.into(), shape: prototype.shape };
            let call =
                |store: &mut Store<HostState>, array| decode_into.call(store, (codec, array, prototype));
            let second = self.run(true, encoded, room, call, &mut hand_on);
            result = of_two(result, second);
        }
        drop(hand_on);
        self.last_answer = last_answer;
        result
    }

    fn encode(&mut self, decoded: &[u8], room: Room, take: &mut Take<'_>) -> Result<(), WasmError> {
        let (codec, encode) = (self.codec, self.encode);
        let call = |store: &mut Store<HostState>, array| encode.call(store, (codec, array));
        let mut last_answer = None;
        let result = self.run(false, decoded, room, call, hand_on(room, take, &mut last_answer));
        self.last_answer = last_answer;
        result
    }

    fn last_answer(&self) -> Option<&ArrayDescription> {
        self.last_answer.as_ref()
    }

    fn memory_bytes(&self) -> usize {
        self.session.memory_bytes()
    }
}
