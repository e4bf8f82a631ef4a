//! Ports of both forms of signature: what is sent, filled in and refused.

use serde_json::json;

use super::*;

fn predictor() -> Signature {
    let signature = json!({
        "codec_id": "predictor", "implementation": "test",
        "inputs": {
            "bytes": {"type": "bytes", "required": true},
            "width": {"type": "uint"},
            "level": {"type": "int", "required": false, "default": 6, "encode_only": true},
            "order": {"type": "string", "required": false},
            "strict": {"type": "bool", "required": false, "decode_only": true},
        },
        "outputs": {"pixels": {"type": "bytes"}},
    });
    Signature::parse(&signature).unwrap()
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("{value} is no object") };
    map
}

fn texts(ports: &Ports) -> Vec<(&str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    ports.parameters.iter().map(|(name, bytes)| (name.as_str(), text(bytes))).collect()
}

fn message<T: std::fmt::Debug>(result: Result<T, WasmError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_form_for_decoding_is_turned_round_for_encoding() {
    let parameters = map(json!({"width": 1024, "order": "C", "strict": true}));
    let decode = predictor().ports(true, &parameters).unwrap();
    assert_eq!((decode.data_input.as_str(), decode.data_output.as_deref()), ("bytes", Some("pixels")));
    assert_eq!(texts(&decode), [("order", "\"C\""), ("strict", "true"), ("width", "1024")]);
    let encode = predictor().ports(false, &parameters).unwrap();
    assert_eq!((encode.data_input.as_str(), encode.data_output.as_deref()), ("pixels", Some("bytes")));
    assert_eq!(texts(&encode), [("level", "6"), ("order", "\"C\""), ("width", "1024")]);
}

#[test]
fn the_form_with_directions_needs_no_flags() {
    let signature = json!({
        "codec_id": "zlib",
        "decode": {"inputs": {"bytes": {"type": "bytes"}}, "outputs": {"bytes": {"type": "bytes"}}},
        "encode": {
            "inputs": {"bytes": {"type": "bytes"}, "level": {"type": "int", "default": 6}, "name": {"type": "string"}},
            "outputs": {"bytes": {"type": "bytes"}},
        },
    });
    let signature = Signature::parse(&signature).unwrap();
    assert_eq!(texts(&signature.ports(true, &Map::new()).unwrap()), []);
    let given = map(json!({"level": 9, "name": "x"}));
    assert_eq!(texts(&signature.ports(true, &given).unwrap()), [], "known, and not for decoding");
    assert_eq!(texts(&signature.ports(false, &given).unwrap()), [("level", "9"), ("name", "\"x\"")]);
    assert!(message(signature.ports(false, &Map::new())).contains("\"name\" of type string"));
}

#[test]
fn a_direction_that_is_not_there_is_missing() {
    let side = json!({"inputs": {"bytes": {"type": "bytes"}}, "outputs": {"bytes": {"type": "bytes"}}});
    let signature = Signature::parse(&json!({ "decode": side })).unwrap();
    signature.ports(true, &Map::new()).unwrap();
    assert!(matches!(signature.ports(false, &Map::new()), Err(WasmError::Missing(_))));
}

#[test]
fn required_parameters_are_insisted_on() {
    let told = message(predictor().ports(true, &Map::new()));
    assert!(told.contains("\"width\" of type uint") && told.contains("decode"), "{told}");
}

#[test]
fn parameters_of_the_wrong_type_or_name_are_refused() {
    for wrong in [json!(-1), json!(1.5), json!("8"), json!(null), json!([8])] {
        let told = message(predictor().ports(true, &map(json!({ "width": wrong }))));
        assert!(told.contains("\"width\" is of type uint"), "{told}");
    }
    let told = message(predictor().ports(true, &map(json!({"width": 1, "heigth": 2}))));
    assert!(told.contains("\"heigth\"") && told.contains("\"order\""), "{told}");
    let told = message(predictor().ports(true, &map(json!({"width": 1, "bytes": "AA"}))));
    assert!(told.contains("no parameter \"bytes\""), "{told}");
}

#[test]
fn lists_and_data_types_are_sent_as_json() {
    let signature = json!({
        "inputs": {"bytes": {"type": "bytes"}, "shape": {"type": "uint[]"}, "dtype": {"type": "dtype_desc"}},
        "outputs": {"bytes": {"type": "bytes"}},
    });
    let signature = Signature::parse(&signature).unwrap();
    let ports = signature.ports(true, &map(json!({"shape": [2, 3], "dtype": "<f8"}))).unwrap();
    assert_eq!(texts(&ports), [("dtype", "\"<f8\""), ("shape", "[2,3]")]);
    assert!(signature.ports(true, &map(json!({"shape": [2, -3], "dtype": "<f8"}))).is_err());
}

#[test]
fn one_stream_of_data_goes_in_and_one_comes_out() {
    let of = |inputs: Value, outputs: Value| {
        Signature::parse(&json!({"inputs": inputs, "outputs": outputs})).unwrap().ports(true, &Map::new())
    };
    let data = json!({"type": "bytes"});
    let optional = json!({"type": "bytes", "required": false});
    let ports = of(json!({"a": data, "dictionary": optional}), json!({"b": data})).unwrap();
    assert_eq!((ports.data_input.as_str(), ports.data_output.as_deref()), ("a", Some("b")));
    assert!(message(of(json!({"a": data, "b": data}), json!({"c": data}))).contains("2 ports of type bytes"));
    assert!(message(of(json!({"a": data}), json!({}))).contains("0 ports of type bytes"));
}

#[test]
fn what_is_no_signature_is_refused() {
    let side = json!({"bytes": {"type": "bytes"}});
    for wrong in [
        json!([]),
        json!({}),
        json!({"inputs": side}),
        json!({"inputs": [], "outputs": side}),
        json!({"inputs": {"bytes": {}}, "outputs": side}),
        json!({"inputs": {"bytes": {"type": "bytes", "required": 1}}, "outputs": side}),
        json!({"decode": 3}),
    ] {
        assert!(matches!(Signature::parse(&wrong), Err(WasmError::Invalid(_))), "{wrong}");
    }
}

#[test]
fn without_a_signature_everything_is_sent_and_the_only_result_taken() {
    let ports = Ports::without_signature(&map(json!({"level": 3})));
    assert_eq!((ports.data_input.as_str(), texts(&ports)), ("bytes", vec![("level", "3")]));
    let position = |names: &[&'static str]| ports.position_of_result(names.iter().copied());
    assert_eq!(position(&["other"]).unwrap(), 0);
    assert_eq!(position(&["other", "bytes"]).unwrap(), 1);
    assert!(matches!(position(&["other", "another"]), Err(WasmError::Broken(_))));
    assert!(matches!(position(&[]), Err(WasmError::Broken(_))));
    let named = Ports { data_output: Some("pixels".to_owned()), ..ports };
    assert!(named.position_of_result(["other"].into_iter()).is_err());
}
