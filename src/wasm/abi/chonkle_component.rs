//! Components of the chonkle family: B (data and a configuration in, data out), C (port maps) and the
//! component form of E (C with a `signature` function).
//!
//! Data is copied into the guest by the component model, and out of it into memory of ours before the guest
//! frees its own: one copy more than a core module takes.

use serde_json::Value;
use wasmtime::component::TypedFunc;

use super::component::{self, fault, function, limit_result};
use super::guest::{call, reported};
use super::ports::PortSetup;
use super::transform::{Transform, TwoWays};
use super::{Guest, Interface, Room, Setup, Take};
use crate::wasm::{CompiledModule, Limits, Session, WasmError};

/// What a signature may be long.
const SIGNATURE_ROOM: Room = Room { expected: None, limit: 1 << 20 };

type Answer<T> = (Result<T, String>,);
type WithConfiguration = TypedFunc<(&'static [u8], &'static str), Answer<Vec<u8>>>;
type PortMap = [(&'static str, &'static [u8])];
type WithPorts = TypedFunc<(&'static PortMap,), Answer<Vec<(String, Vec<u8>)>>>;

/// A guest of any of the three.
struct ChonkleComponent {
    session: Session,
    calls: Calls,
}

enum Calls {
    WithConfiguration { functions: TwoWays<WithConfiguration>, json: String },
    WithPorts { functions: TwoWays<WithPorts>, ports: Box<PortSetup> },
}

pub(super) fn instantiate(
    module: &CompiledModule,
    setup: &Setup,
    limits: &Limits,
) -> Result<Box<dyn Guest>, WasmError> {
    let mut session = Session::new(module, limits)?;
    let calls = call(&mut session, |store| {
        let instance = component::start(store, module)?;
        if module.interface() == Interface::ChonkleB {
            return Ok(Calls::WithConfiguration {
                functions: TwoWays::find(|name| function(store, &instance, None, name))?,
                json: Value::Object(setup.parameters.clone()).to_string(),
            });
        }
        let has_signature = module.interface() == Interface::ChonkleEComponent;
        let name = if has_signature { "cylf:codec/transform" } else { "chonkle:codec/transform" };
        let interface = component::interface(store, module, &instance, name)?;
        let mut signature = module.survey().signature.clone();
        if signature.is_none() && has_signature {
            let function = function::<(), (Vec<u8>,)>(store, &instance, Some(&interface), "signature")?;
            if let Some(function) = function {
                limit_result(store, SIGNATURE_ROOM);
                let (text,) = function.call(&mut *store, ()).map_err(fault)?;
                signature = Some(super::ports::parse_signature(&text)?);
            }
        }
        Ok(Calls::WithPorts {
            functions: TwoWays::find(|name| function(store, &instance, Some(&interface), name))?,
            ports: Box::new(PortSetup::new(signature.as_ref(), setup)?),
        })
    })?;
    Ok(Box::new(ChonkleComponent { session, calls }))
}

impl Transform for ChonkleComponent {
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
        let Self { session, calls } = self;
        let result = match calls {
            Calls::WithConfiguration { functions, json } => {
                let function = functions.of(is_decoding)?;
                call(session, |store| {
                    limit_result(store, room);
                    let (answer,) = function.call(store, (data, json.as_str())).map_err(fault)?;
                    answer.map_err(|text| reported(text.as_bytes()))
                })?
            }
            Calls::WithPorts { functions, ports } => {
                let function = functions.of(is_decoding)?;
                let ports = ports.of(is_decoding)?;
                let parameters = ports.parameters.iter().map(|(name, text)| (name.as_str(), text.as_slice()));
                let data = (ports.data_input.as_str(), data);
                let port_map: Vec<(&str, &[u8])> = std::iter::once(data).chain(parameters).collect();
                let mut results = call(session, |store| {
                    limit_result(store, room);
                    let (answer,) = function.call(store, (port_map.as_slice(),)).map_err(fault)?;
                    answer.map_err(|text| reported(text.as_bytes()))
                })?;
                let position = ports.position_of_result(results.iter().map(|(name, _)| name.as_str()))?;
                results.swap_remove(position).1
            }
        };
        room.admit(result.len())?;
        take(&result)
    }
}

#[cfg(test)]
#[path = "chonkle_component_tests.rs"]
mod tests;
