//! Replays the golden vectors of `tests/fixtures/make_filter_vectors.py`.

use serde_json::Value;
use wazarr::codec::registry::{BindOptions, bind};
use wazarr::codec::{ArraySpec, Codec, DataType, Scratch};

type Run = fn(&dyn Codec, &[u8]) -> Option<Vec<u8>>;

/// Bytes of a name in `inputs`, or written out in hexadecimal.
fn data(inputs: &Value, key: &str) -> Vec<u8> {
    let digits = inputs[key].as_str().unwrap_or(key);
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn encode(codec: &dyn Codec, decoded: &[u8]) -> Option<Vec<u8>> {
    let mut encoded = Vec::new();
    codec.encode(decoded, &mut encoded, &mut Scratch::default()).ok()?;
    assert!(encoded.len() <= codec.encoded_bound(decoded.len()));
    assert!(codec.encoded_len(decoded.len()).is_none_or(|len| len == encoded.len()));
    Some(encoded)
}

fn decode(codec: &dyn Codec, encoded: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    codec.decode_bounded(encoded, &mut decoded, 1 << 20, &mut Scratch::default()).ok()?;
    let mut exact = vec![1; decoded.len()];
    codec.decode_into(encoded, &mut exact, &mut Scratch::default()).unwrap();
    assert_eq!(decoded, exact);
    Some(decoded)
}

#[test]
fn codecs_answer_like_the_reference() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/filter_vectors.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let inputs = &vectors["inputs"];
    let mut wrong = Vec::new();
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        let dtype = DataType::parse(case["dtype"].as_str().unwrap()).unwrap();
        let decoded = ArraySpec { chunk_shape: vec![1], dtype };
        let name = case["codec"].as_str().unwrap();
        let configuration = &case["configuration"];
        let codec = match bind(name, configuration, &decoded, BindOptions::default()) {
            Ok(codec) => codec,
            Err(error) => {
                wrong.push(format!("{name} {configuration}: {error}"));
                continue;
            }
        };
        let mut check = |verb: &str, run: Run, input: &Value, expected: &Value| {
            let Some(input) = input.as_str() else { return };
            let expected = expected.as_str().map(|key| data(inputs, key));
            let actual = run(&*codec, &data(inputs, input));
            if actual != expected {
                wrong.push(format!(
                    "{name} {configuration} {verb} {input}:\n  expected {}\n  actual   {}",
                    hex(expected.as_deref()),
                    hex(actual.as_deref())
                ));
            }
        };
        for round_trip in case["round_trips"].as_array().into_iter().flatten() {
            check("encode", encode, &round_trip[0], &round_trip[1]);
            check("decode", decode, &round_trip[1], &round_trip[2]);
        }
        for pair in case["decodes"].as_array().into_iter().flatten() {
            check("decode", decode, &pair[0], &pair[1]);
        }
    }
    assert!(cases.len() > 500);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn hex(bytes: Option<&[u8]>) -> String {
    bytes.map_or("an error".into(), |bytes| {
        bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    })
}
