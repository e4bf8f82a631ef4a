//! Core modules of the chonkle family: A (bytes and a configuration in, bytes out), D (port maps) and the
//! core form of E (D with a `signature` function).
//!
//! ```text
//!  A  decode(data, data_len, json, json_len) -> ptr << 32 | len     the host frees all three
//!  D  decode(map, map_len)                   -> ptr << 32 | len     the guest frees its input, the host the result
//!
//!  port map of D, nothing padded:  count u32 | name_len u32, name, data_len u32, data | …
//! ```
//! A result of 0 is an error, and there is no text for it. The result is handed on from where it stands in
//! guest memory.

use serde_json::Value;
use wasmtime::{Instance, Memory, Store, TypedFunc};

use super::guest::{self, call, function, length, optional_function, part, put, word};
use super::ports::PortSetup;
use super::transform::{Transform, TwoWays};
use super::{Guest, Interface, Room, Setup, Take};
use crate::wasm::signature::Ports;
use crate::wasm::{CompiledModule, HostState, Limits, Session, WasmError};

/// What a signature may be long.
const SIGNATURE_MAX_BYTES: usize = 1 << 20;
/// Ports that a result may have.
const PORTS_MAX: usize = 1 << 10;

type WithConfiguration = TypedFunc<(u32, u32, u32, u32), u64>;
type WithPorts = TypedFunc<(u32, u32), u64>;

/// A guest of any of the three.
struct ChonkleCore {
    session: Session,
    buffers: Buffers,
    calls: Calls,
}

/// The guest's memory and its allocator.
struct Buffers {
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
    dealloc: TypedFunc<(u32, u32), ()>,
}

enum Calls {
    WithConfiguration { functions: TwoWays<WithConfiguration>, json: Vec<u8> },
    WithPorts { functions: TwoWays<WithPorts>, ports: Box<PortSetup> },
}

pub(super) fn instantiate(
    module: &CompiledModule,
    setup: &Setup,
    limits: &Limits,
) -> Result<Box<dyn Guest>, WasmError> {
    let mut session = Session::new(module, limits)?;
    let (buffers, calls) = call(&mut session, |store| {
        let instance = guest::start(store, module, |_| Ok(()))?;
        let buffers = Buffers {
            memory: guest::memory(&mut *store, &instance)?,
            alloc: function(&mut *store, &instance, "alloc")?,
            dealloc: function(&mut *store, &instance, "dealloc")?,
        };
        let calls = match module.interface() {
            Interface::ChonkleA => Calls::WithConfiguration {
                functions: TwoWays::find(|name| optional_function(&mut *store, &instance, name))?,
                json: Value::Object(setup.parameters.clone()).to_string().into_bytes(),
            },
            interface => {
                let mut signature = module.survey().signature.clone();
                if signature.is_none() && interface == Interface::ChonkleECore {
                    signature = Some(own_signature(store, &instance, buffers.memory)?);
                }
                Calls::WithPorts {
                    functions: TwoWays::find(|name| optional_function(&mut *store, &instance, name))?,
                    ports: Box::new(PortSetup::new(signature.as_ref(), setup)?),
                }
            }
        };
        Ok((buffers, calls))
    })?;
    Ok(Box::new(ChonkleCore { session, buffers, calls }))
}

/// What `signature()` answers. Nobody has said who frees it, so it stays.
fn own_signature(
    store: &mut Store<HostState>,
    instance: &Instance,
    memory: Memory,
) -> Result<Value, WasmError> {
    let signature = function::<(), u64>(&mut *store, instance, "signature")?;
    let (pointer, len) = unpacked(signature.call(&mut *store, ())?);
    if len > SIGNATURE_MAX_BYTES {
        return Err(WasmError::Invalid(format!("its signature is {len} bytes long")));
    }
    super::ports::parse_signature(part(memory.data(&*store), pointer, len)?)
}

fn unpacked(packed: u64) -> (u32, usize) {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
    let halves = ((packed >> 32) as u32, packed as u32);
    (halves.0, halves.1 as usize)
}

impl Buffers {
    fn make(&self, store: &mut Store<HostState>, len: u32) -> Result<u32, WasmError> {
        match self.alloc.call(&mut *store, len)? {
            // What is empty needs no place.
            0 if len > 0 => Err(WasmError::Guest(format!("no memory for {len} bytes"))),
            pointer => Ok(pointer),
        }
    }

    fn copy_in(&self, store: &mut Store<HostState>, bytes: &[u8]) -> Result<(u32, u32), WasmError> {
        let len = length(bytes.len())?;
        let pointer = self.make(store, len)?;
        put(self.memory.data_mut(&mut *store), pointer, bytes)?;
        Ok((pointer, len))
    }

    fn free(&self, store: &mut Store<HostState>, (pointer, len): (u32, u32)) -> Result<(), WasmError> {
        Ok(self.dealloc.call(&mut *store, (pointer, len))?)
    }

    /// A port map in guest memory, written there part by part.
    fn port_map(
        &self,
        store: &mut Store<HostState>,
        ports: &Ports,
        data: &[u8],
    ) -> Result<(u32, u32), WasmError> {
        let parameters = ports.parameters.iter().map(|(name, text)| (name.as_str(), text.as_slice()));
        let entries = || std::iter::once((ports.data_input.as_str(), data)).chain(parameters.clone());
        let len = length(entries().map(|(name, bytes)| 8 + name.len() + bytes.len()).sum::<usize>() + 4)?;
        let start = self.make(store, len)?;
        let memory = self.memory.data_mut(&mut *store);
        let mut at = start;
        let mut write = |bytes: &[u8]| -> Result<(), WasmError> {
            put(memory, at, bytes)?;
            at = at.saturating_add(length(bytes.len())?);
            Ok(())
        };
        write(&length(1 + ports.parameters.len())?.to_le_bytes())?;
        for (name, bytes) in entries() {
            write(&length(name.len())?.to_le_bytes())?;
            write(name.as_bytes())?;
            write(&length(bytes.len())?.to_le_bytes())?;
            write(bytes)?;
        }
        Ok((start, len))
    }
}

/// The data of the port that holds the result.
fn result_of<'a>(port_map: &'a [u8], ports: &Ports) -> Result<&'a [u8], WasmError> {
    let count = word(port_map, 0)? as usize;
    if count > PORTS_MAX {
        return Err(WasmError::Broken(format!("its result has {count} ports")));
    }
    let mut rest = port_map.get(4..).unwrap_or_default();
    let mut next = || -> Result<&'a [u8], WasmError> {
        let len = word(rest, 0)? as usize;
        let (bytes, others) = rest[4..]
            .split_at_checked(len)
            .ok_or_else(|| WasmError::Broken("its port map ends before it should".to_owned()))?;
        rest = others;
        Ok(bytes)
    };
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let name = std::str::from_utf8(next()?)
            .map_err(|_| WasmError::Broken("a port of its result has a name that is not UTF-8".to_owned()))?;
        entries.push((name, next()?));
    }
    let position = ports.position_of_result(entries.iter().map(|(name, _)| *name))?;
    Ok(entries[position].1)
}

impl Transform for ChonkleCore {
    fn session(&self) -> &Session {
        &self.session
    }

    fn run(
        &mut self,
        is_decoding: bool,
        data: &[u8],
        room: Room,
        take: &mut Take<'_>,
    ) -> Result<(), WasmError> {
        let Self { session, buffers, calls } = self;
        match calls {
            Calls::WithConfiguration { functions, json } => {
                let function = functions.of(is_decoding)?;
                call(session, |store| {
                    let input = buffers.copy_in(store, data)?;
                    let configuration = buffers.copy_in(store, json)?;
                    let packed =
                        function.call(&mut *store, (input.0, input.1, configuration.0, configuration.1))?;
                    buffers.free(store, input)?;
                    buffers.free(store, configuration)?;
                    buffers.hand_on(store, packed, |result| {
                        room.admit(result.len())?;
                        take(result)
                    })
                })
            }
            Calls::WithPorts { functions, ports } => {
                let function = functions.of(is_decoding)?;
                let ports = ports.of(is_decoding)?;
                call(session, |store| {
                    let port_map = buffers.port_map(store, ports, data)?;
                    let packed = function.call(&mut *store, port_map)?;
                    buffers.hand_on(store, packed, |port_map| {
                        let result = result_of(port_map, ports)?;
                        room.admit(result.len())?;
                        take(result)
                    })
                })
            }
        }
    }
}

impl Buffers {
    /// Hands on a result from where it stands, and frees it whatever comes of that.
    fn hand_on(
        &self,
        store: &mut Store<HostState>,
        packed: u64,
        take: impl FnOnce(&[u8]) -> Result<(), WasmError>,
    ) -> Result<(), WasmError> {
        if packed == 0 {
            return Err(guest::reported(&[]));
        }
        let (pointer, len) = unpacked(packed);
        let taken = take(part(self.memory.data(&*store), pointer, len)?);
        self.free(store, (pointer, length(len)?))?;
        taken
    }
}

#[cfg(test)]
#[path = "chonkle_core_tests.rs"]
mod tests;
