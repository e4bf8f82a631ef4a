use serde_json::json;

use super::super::registry::{BindOptions, bind};
use super::super::{ByteOrder, DataType, Scratch};
use super::*;

const SHAPE: [usize; 2] = [3, 5];

fn codec(name: &str) -> Arc<dyn Codec> {
    let configuration = match name {
        "zstd" => json!({"level": 1, "checksum": false}),
        "crc32c" => json!({"location": "end"}),
        "byteswap" => json!({"words": [[0, 4]], "item_size": 4}),
        other => panic!("no configuration for {other}"),
    };
    let spec = ArraySpec { chunk_shape: SHAPE.to_vec(), dtype: DataType::parse("<f4").unwrap() };
    bind(name, &configuration, &spec, BindOptions::default()).unwrap()
}

fn parts(names: &[&str]) -> ChainParts {
    let dtype = DataType::parse("<f4").unwrap();
    ChainParts {
        fill: Fill::new(vec![0; 4], &dtype),
        spec: ArraySpec { chunk_shape: SHAPE.to_vec(), dtype },
        writes_empty_chunks: false,
        stored_axes: vec![0, 1],
        codecs: names.iter().map(|name| codec(name)).collect(),
        vlen: None,
        shard: None,
        engines: EngineCounts::default(),
        variable_limit_bytes: 1000,
    }
}

fn chain(names: &[&str]) -> Chain {
    Chain::bind(parts(names)).unwrap()
}

fn strings(names: &[&str]) -> Chain {
    let dtype = DataType::parse("|O").unwrap();
    Chain::bind(ChainParts {
        spec: ArraySpec { chunk_shape: vec![4], dtype },
        stored_axes: vec![0],
        vlen: Some(VlenKind::Utf8),
        ..parts(names)
    })
    .unwrap()
}

#[test]
fn lengths_are_known_when_bound() {
    let table: [(&[&str], Option<usize>, bool); 5] = [
        (&[], Some(60), true),
        (&["byteswap"], Some(60), false),
        (&["crc32c"], Some(64), false),
        (&["byteswap", "crc32c", "crc32c"], Some(68), false),
        (&["zstd", "crc32c"], None, false),
    ];
    for (names, encoded_len, is_plain) in table {
        let chain = chain(names);
        assert_eq!((chain.len_bytes(), chain.element_count()), (60, 15));
        assert_eq!(chain.encoded_len(), encoded_len, "{names:?}");
        assert_eq!(chain.is_plain(), is_plain, "{names:?}");
        assert!(chain.encoded_limit() >= encoded_len.unwrap_or(60), "{names:?}");
        assert!(chain.encoded_limit() < 1 << 20, "{names:?}");
    }
    let strings = strings(&["zstd"]);
    assert_eq!((strings.len_bytes(), strings.element_count(), strings.encoded_len()), (4, 4, None));
    assert_eq!((strings.vlen(), strings.vlen_inside()), (Some(VlenKind::Utf8), Some(VlenKind::Utf8)));
}

#[test]
fn chunks_that_do_not_fit_in_memory_are_refused() {
    let dtype = DataType::parse("<f8").unwrap();
    for shape in [vec![usize::MAX, 2], vec![1 << 40, 1 << 30], vec![usize::MAX / 8]] {
        let spec = ArraySpec { chunk_shape: shape.clone(), dtype: dtype.clone() };
        let stored_axes = (0..shape.len()).collect();
        assert!(Chain::bind(ChainParts { spec, stored_axes, ..parts(&[]) }).is_err(), "{shape:?}");
    }
}

#[test]
fn transposition_is_only_strides() {
    let transposed = Chain::bind(ChainParts { stored_axes: vec![1, 0], ..parts(&[]) }).unwrap();
    assert_eq!(chain(&[]).strides(), [20, 4]);
    assert_eq!(transposed.strides(), [4, 12]);
    assert!(transposed.is_plain());
}

#[test]
fn steps_run_in_order_and_back() {
    let decoded: Vec<u8> = (0..60).collect();
    let mut scratch = Scratch::default();
    for names in
        [&[][..], &["byteswap"], &["crc32c"], &["byteswap", "crc32c"], &["byteswap", "zstd", "crc32c"]]
    {
        let chain = chain(names);
        let mut encoded = b"left over".to_vec();
        chain.encode(&decoded, &mut encoded, &mut scratch).unwrap();
        assert_eq!(chain.encoded_len().unwrap_or(encoded.len()), encoded.len(), "{names:?}");
        if names == ["byteswap", "crc32c"] {
            assert_eq!(encoded[..4], [3, 2, 1, 0]);
        }
        let mut back = vec![0xEE; 60];
        chain.decode(&encoded, &mut back, &mut scratch).unwrap();
        assert_eq!(back, decoded, "{names:?}");
    }
}

#[test]
fn a_failed_step_has_its_name_and_direction() {
    let mut scratch = Scratch::default();
    let chain = chain(&["byteswap", "zstd", "crc32c"]);
    let mut encoded = Vec::new();
    chain.encode(&[5; 60], &mut encoded, &mut scratch).unwrap();
    let failing = |encoded: &[u8], scratch: &mut Scratch| {
        let error = chain.decode(encoded, &mut [0; 60], scratch).unwrap_err();
        (error.codec, error.direction)
    };
    *encoded.last_mut().unwrap() ^= 1;
    assert_eq!(failing(&encoded, &mut scratch), ("crc32c".to_owned(), Direction::Decode));
    let mut other = Vec::new();
    codec("crc32c").encode(b"no zstd frame", &mut other, &mut scratch).unwrap();
    assert_eq!(failing(&other, &mut scratch), ("zstd".to_owned(), Direction::Decode));
    let short = Chain::bind(parts(&[])).unwrap().decode(&[0; 59], &mut [0; 60], &mut scratch).unwrap_err();
    assert!(matches!(short.fault, CodecFault::DecodedLength { expected: 60, actual: 59 }), "{short}");
    assert_eq!(short.codec, "bytes");
}

#[test]
fn strings_keep_to_the_cap_and_name_the_option() {
    let mut scratch = Scratch::default();
    let chain = strings(&["zstd"]);
    let encode = |elements: [&str; 4], scratch: &mut Scratch| {
        let mut encoded = Vec::new();
        let elements = elements.into_iter().map(str::as_bytes);
        chain.encode_elements(VlenKind::Utf8, elements, &mut encoded, scratch).unwrap();
        encoded
    };
    let sound = encode(["a", "", "grün", "x"], &mut scratch);
    let elements = chain.decode_elements(VlenKind::Utf8, &sound, &mut scratch).unwrap();
    assert_eq!(elements.get(2), "grün".as_bytes());
    let long = "x".repeat(2000);
    let long = encode([&long, "", "", ""], &mut scratch);
    let error = chain.decode_elements(VlenKind::Utf8, &long, &mut scratch).unwrap_err();
    assert!(error.to_string().contains(VARIABLE_LENGTH_OPTION), "{error}");
    assert_eq!(error.codec, "zstd");
}

#[test]
fn engines_are_counted_as_they_were_given() {
    let mut counts = EngineCounts::default();
    for engine in [Engine::Native, Engine::Python, Engine::Wasm, Engine::Native] {
        counts.add(engine);
    }
    let chain = Chain::bind(ChainParts { engines: counts, ..parts(&["zstd"]) }).unwrap();
    assert_eq!(chain.engines(), EngineCounts { native: 2, wasm: 1, python: 1 });
    assert_eq!(chain.spec().dtype.byte_order, ByteOrder::Little);
}
