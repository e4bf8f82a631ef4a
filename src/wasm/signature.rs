//! Signatures of the chonkle family: a module's own description of its ports, as JSON.
//!
//! A codec of that family takes and gives *port maps*, named byte strings: the data itself and, beside it, each
//! parameter as JSON text. The signature says which ports there are. It stands in a custom section of the
//! file, which the survey reads: `chonkle:signature`, written in the direction of decoding, or
//! `cylf:signature`, with a part for each direction. From it and the parameters of the metadata, [`Ports`] are
//! made once per instance: defaults filled in, required parameters insisted on.

use serde_json::{Map, Value};

use super::WasmError;

/// Port of the data where nothing says otherwise.
const DATA_PORT: &str = "bytes";
/// Type of a port that holds data.
const DATA_TYPE: &str = "bytes";

/// What a module says of its ports.
#[derive(Clone, Debug)]
pub struct Signature {
    decode: Option<Direction>,
    encode: Option<Direction>,
}

#[derive(Clone, Debug, Default)]
struct Direction {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

#[derive(Clone, Debug)]
struct Port {
    name: String,
    /// One of `bytes string int uint float bool uint[] dtype_desc`; others are taken as they come.
    type_name: String,
    is_required: bool,
    default: Option<Value>,
    is_encode_only: bool,
    is_decode_only: bool,
}

/// The ports of one direction with the parameters' values, ready to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ports {
    /// Port that the data goes to.
    pub data_input: String,
    /// Port that the result comes from; where there is no signature, the only one there is may have any name.
    pub data_output: Option<String>,
    /// Names and JSON texts of the parameters.
    pub parameters: Vec<(String, Vec<u8>)>,
}

impl Signature {
    /// Reads a signature: in the form with a part for each direction, or in the one that is written in the
    /// direction of decoding.
    ///
    /// # Errors
    /// It is no JSON object, or its ports are not described as they should be.
    pub fn parse(json: &Value) -> Result<Self, WasmError> {
        let json = json.as_object().ok_or_else(|| invalid("its signature is no JSON object".to_owned()))?;
        let has_directions = json.contains_key("decode") || json.contains_key("encode");
        let (decode, encode) = if has_directions {
            let direction = |name| json.get(name).map(Direction::parse).transpose();
            (direction("decode")?, direction("encode")?)
        } else {
            let decode = Direction::parse_members(json)?;
            let encode = decode.inverted();
            (Some(decode.without(|port| port.is_encode_only)), Some(encode))
        };
        Ok(Self { decode, encode })
    }

    /// The ports for one direction, filled from the codec's parameters.
    ///
    /// # Errors
    /// A required parameter is missing, one is of the wrong type or no port of this codec, the signature lacks
    /// this direction, or it is not one stream of data in and one out.
    pub fn ports(&self, is_decoding: bool, parameters: &Map<String, Value>) -> Result<Ports, WasmError> {
        let (verb, direction) = if is_decoding { ("decode", &self.decode) } else { ("encode", &self.encode) };
        let direction =
            direction.as_ref().ok_or_else(|| WasmError::Missing(format!("{verb}, says its signature")))?;
        self.refuse_unknown(parameters)?;
        let data_input = data_port(&direction.inputs, &format!("{verb}s from"))?;
        let data_output = data_port(&direction.outputs, &format!("{verb}s to"))?;
        let mut filled = Vec::new();
        for port in direction.inputs.iter().filter(|port| port.name != data_input) {
            let given = parameters.get(&port.name);
            if let Some(given) = given {
                port.check(given)?;
            }
            match given.or(port.default.as_ref()) {
                Some(value) => filled.push((port.name.clone(), value.to_string().into_bytes())),
                None if port.is_required => {
                    return Err(invalid(format!(
                        "to {verb}, it needs the parameter {:?} of type {}, which the codec's configuration lacks",
                        port.name, port.type_name
                    )));
                }
                None => {}
            }
        }
        Ok(Ports { data_input, data_output: Some(data_output), parameters: filled })
    }

    /// A parameter that no direction knows is a mistake that nothing else would tell.
    fn refuse_unknown(&self, parameters: &Map<String, Value>) -> Result<(), WasmError> {
        let known = || {
            let inputs =
                [&self.decode, &self.encode].into_iter().flatten().flat_map(|direction| &direction.inputs);
            inputs.filter(|port| port.type_name != DATA_TYPE).map(|port| port.name.as_str())
        };
        let Some(unknown) = parameters.keys().find(|name| !known().any(|port| port == *name)) else {
            return Ok(());
        };
        let mut names: Vec<&str> = known().collect();
        names.sort_unstable();
        names.dedup();
        Err(invalid(format!("it has no parameter {unknown:?}; its parameters are {names:?}")))
    }
}

impl Ports {
    /// The ports of a module without a signature: the data as `bytes`, and every parameter.
    #[must_use]
    pub fn without_signature(parameters: &Map<String, Value>) -> Self {
        let texts = parameters.iter().map(|(name, value)| (name.clone(), value.to_string().into_bytes()));
        Self { data_input: DATA_PORT.to_owned(), data_output: None, parameters: texts.collect() }
    }

    /// Which of the ports that came back holds the result.
    ///
    /// # Errors
    /// None does, or more than one might.
    pub fn position_of_result<'a>(
        &self,
        mut names: impl ExactSizeIterator<Item = &'a str> + Clone,
    ) -> Result<usize, WasmError> {
        let wanted = self.data_output.as_deref().unwrap_or(DATA_PORT);
        let is_only = names.len() == 1 && self.data_output.is_none();
        let position = names.clone().position(|name| name == wanted).or(is_only.then_some(0));
        position.ok_or_else(|| {
            let names: Vec<&str> = names.by_ref().take(8).collect();
            WasmError::Broken(format!("its result has no port {wanted:?}; the ports are {names:?}"))
        })
    }
}

impl Direction {
    fn parse(json: &Value) -> Result<Self, WasmError> {
        let members = json.as_object();
        Self::parse_members(
            members.ok_or_else(|| invalid("a direction of its signature is no object".to_owned()))?,
        )
    }

    fn parse_members(json: &Map<String, Value>) -> Result<Self, WasmError> {
        let ports = |name: &str| match json.get(name) {
            Some(Value::Object(ports)) => ports.iter().map(|(name, port)| Port::parse(name, port)).collect(),
            Some(_) => Err(invalid(format!("{name:?} of its signature is no object"))),
            None => Err(invalid(format!("its signature has no {name:?}"))),
        };
        Ok(Self { inputs: ports("inputs")?, outputs: ports("outputs")? })
    }

    fn without(mut self, is_out: impl Fn(&Port) -> bool) -> Self {
        self.inputs.retain(|port| !is_out(port));
        self.outputs.retain(|port| !is_out(port));
        self
    }

    /// The encoding direction of a signature that is written for decoding: data goes the other way, parameters
    /// do not.
    fn inverted(&self) -> Self {
        let (data, parameters): (Vec<Port>, Vec<Port>) =
            self.inputs.iter().cloned().partition(|port| port.type_name == DATA_TYPE);
        let decoded = self.outputs.iter().filter(|port| port.type_name == DATA_TYPE).cloned();
        let inverted = Self { inputs: decoded.chain(parameters).collect(), outputs: data };
        inverted.without(|port| port.is_decode_only)
    }
}

impl Port {
    fn parse(name: &str, json: &Value) -> Result<Self, WasmError> {
        let flag = |member: &str| match json.get(member) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(invalid(format!("{member:?} of port {name:?} in its signature is no boolean"))),
        };
        let type_name = json.get("type").and_then(Value::as_str);
        let type_name =
            type_name.ok_or_else(|| invalid(format!("port {name:?} in its signature has no type")))?;
        let default = json.get("default").filter(|default| !default.is_null()).cloned();
        Ok(Self {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            is_required: flag("required")?.unwrap_or(json.get("default").is_none()),
            default,
            is_encode_only: flag("encode_only")?.unwrap_or(false),
            is_decode_only: flag("decode_only")?.unwrap_or(false),
        })
    }

    /// Whether a parameter may have this value.
    fn check(&self, value: &Value) -> Result<(), WasmError> {
        let fits = match self.type_name.as_str() {
            "bytes" => false,
            "string" => value.is_string(),
            "int" => value.is_i64() || value.is_u64(),
            "uint" => value.is_u64(),
            "float" => value.is_number(),
            "bool" => value.is_boolean(),
            "uint[]" => value.as_array().is_some_and(|items| items.iter().all(Value::is_u64)),
            _ => true,
        };
        let error = || {
            invalid(format!("its parameter {:?} is of type {}, and not {value}", self.name, self.type_name))
        };
        fits.then_some(()).ok_or_else(error)
    }
}

/// The one port of data: the only one, or the only one that must be there.
fn data_port(ports: &[Port], what: &str) -> Result<String, WasmError> {
    let data: Vec<&Port> = ports.iter().filter(|port| port.type_name == DATA_TYPE).collect();
    let required: Vec<&Port> = data.iter().copied().filter(|port| port.is_required).collect();
    match (data.as_slice(), required.as_slice()) {
        ([only], _) | (_, [only]) => Ok(only.name.clone()),
        _ => Err(invalid(format!(
            "a Zarr codec has one stream of data in and one out; this module {what} {} ports of type bytes",
            data.len()
        ))),
    }
}

fn invalid(reason: String) -> WasmError {
    WasmError::Invalid(reason)
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
