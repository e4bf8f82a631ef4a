//! Chunks that numcodecs encoded decode natively to the same bytes.
//! `tests/fixtures/make_codec_vectors.py` writes them.

use serde_json::Value;
use wazarr::codec::registry::{self, BindOptions};
use wazarr::codec::{ArraySpec, DataType, Scratch};

const VECTORS: &str = include_str!("../data/codec_vectors.json");

/// Decodes standard base64, which the vectors' script writes.
fn base64(text: &str) -> Vec<u8> {
    let sextet = |symbol: u8| match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("{symbol:?} is not base64"),
    };
    let mut bytes = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, &symbol| bits << 6 | u32::from(sextet(symbol)));
        let bits = bits << (8 + 6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[..group.len() - 1]);
    }
    bytes
}

struct Case {
    label: String,
    name: String,
    configuration: Value,
    decoded_spec: ArraySpec,
    decoded: Vec<u8>,
    encoded: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let vectors = document["vectors"].as_array().unwrap();
    vectors
        .iter()
        .map(|vector| {
            let array = &document["arrays"][vector["array"].as_str().unwrap()];
            let dtype = DataType::parse(array["dtype"].as_str().unwrap()).unwrap();
            let decoded = base64(array["bytes"].as_str().unwrap());
            Case {
                label: format!("{} {} of {}", vector["name"], vector["configuration"], vector["array"]),
                name: text(&vector["name"]),
                configuration: vector["configuration"].clone(),
                decoded_spec: ArraySpec { chunk_shape: vec![decoded.len() / dtype.item_size], dtype },
                decoded,
                encoded: base64(vector["encoded"].as_str().unwrap()),
            }
        })
        .collect()
}

#[test]
fn what_numcodecs_encoded_decodes_natively() {
    let mut scratch = Scratch::default();
    let cases = cases();
    assert!(cases.len() > 50);
    for case in cases {
        let options = BindOptions::default();
        let codec = registry::bind(&case.name, &case.configuration, &case.decoded_spec, options).unwrap();
        assert!(case.encoded.len() <= codec.encoded_bound(case.decoded.len()), "{}", case.label);

        let mut decoded = vec![0xaa; case.decoded.len()];
        codec.decode_into(&case.encoded, &mut decoded, &mut scratch).unwrap();
        assert_eq!(decoded, case.decoded, "{}", case.label);

        let mut grown = Vec::new();
        codec.decode_bounded(&case.encoded, &mut grown, 1 << 20, &mut scratch).unwrap();
        assert_eq!(grown, case.decoded, "{}", case.label);
    }
}

#[test]
fn native_encodings_come_back() {
    let mut scratch = Scratch::default();
    for case in cases() {
        let options = BindOptions::default();
        let codec = registry::bind(&case.name, &case.configuration, &case.decoded_spec, options).unwrap();
        let mut encoded = Vec::new();
        codec.encode(&case.decoded, &mut encoded, &mut scratch).unwrap();
        let mut decoded = vec![0xaa; case.decoded.len()];
        codec.decode_into(&encoded, &mut decoded, &mut scratch).unwrap();
        assert_eq!(decoded, case.decoded, "{}", case.label);
    }
}
