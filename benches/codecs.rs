//! Decoding and encoding one chunk: our codecs with their kept contexts and buffers, and beside each what a
//! program gets that calls the library (or another one) anew for every chunk.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails stops")]
#![expect(
    unsafe_code,
    reason = "calls blosc's C functions, and divan registers benchmarks in a link section"
)]

#[allow(dead_code, reason = "each benchmark takes what it needs")]
mod arrays;

use arrays::{bytes_of, codec, elements};
use divan::Bencher;
use divan::counter::BytesCount;
use serde_json::Value;
use wazarr::codec::Scratch;

/// Sides of the chunks: 8 KiB and 1000 KiB of `u16`.
const SIDES: [usize; 2] = [16, 80];

fn main() {
    divan::main();
}

/// Our codec, with what it keeps from chunk to chunk.
fn ours_decoding(bencher: Bencher<'_, '_>, name: &str, configuration: &Value, side: usize) {
    let codec = codec(name, configuration);
    let chunk = bytes_of(&elements(side));
    let mut scratch = Scratch::default();
    let mut encoded = Vec::new();
    codec.encode(&chunk, &mut encoded, &mut scratch).unwrap();
    let mut decoded = vec![0; chunk.len()];
    bencher
        .counter(BytesCount::new(chunk.len()))
        .bench_local(|| codec.decode_into(&encoded, &mut decoded, &mut scratch).unwrap());
    assert!(decoded == chunk, "the answer is wrong");
}

/// As [`ours_decoding`]; what was encoded last is decoded to check it.
fn ours_encoding(bencher: Bencher<'_, '_>, name: &str, configuration: &Value, side: usize) {
    let codec = codec(name, configuration);
    let chunk = bytes_of(&elements(side));
    let mut scratch = Scratch::default();
    let mut encoded = Vec::new();
    bencher.counter(BytesCount::new(chunk.len())).bench_local(|| {
        encoded.clear();
        codec.encode(&chunk, &mut encoded, &mut scratch).unwrap();
    });
    let mut decoded = vec![0; chunk.len()];
    codec.decode_into(&encoded, &mut decoded, &mut scratch).unwrap();
    assert!(decoded == chunk, "the answer is wrong");
}

/// Another way to decode what our codec encodes.
fn rival_decoding(
    bencher: Bencher<'_, '_>,
    (name, configuration): (&str, &Value),
    side: usize,
    decode: impl Fn(&[u8], usize) -> Vec<u8>,
) {
    let chunk = bytes_of(&elements(side));
    let mut encoded = Vec::new();
    codec(name, configuration).encode(&chunk, &mut encoded, &mut Scratch::default()).unwrap();
    assert!(decode(&encoded, chunk.len()) == chunk, "the answer is wrong");
    bencher.counter(BytesCount::new(chunk.len())).bench_local(|| decode(&encoded, chunk.len()));
}

/// Another way to encode what our codec decodes.
fn rival_encoding(
    bencher: Bencher<'_, '_>,
    (name, configuration): (&str, &Value),
    side: usize,
    encode: impl Fn(&[u8]) -> Vec<u8>,
) {
    let chunk = bytes_of(&elements(side));
    let mut decoded = vec![0; chunk.len()];
    let encoded = encode(&chunk);
    codec(name, configuration).decode_into(&encoded, &mut decoded, &mut Scratch::default()).unwrap();
    assert!(decoded == chunk, "the answer is wrong");
    bencher.counter(BytesCount::new(chunk.len())).bench_local(|| encode(&chunk));
}

#[divan::bench_group(max_time = 0.5)]
mod zstd_1 {
    use super::{Bencher, SIDES, Value, ours_decoding, ours_encoding, rival_decoding, rival_encoding};

    fn configuration() -> Value {
        serde_json::json!({"level": 1, "checksum": false})
    }

    #[divan::bench(args = SIDES)]
    fn decode(bencher: Bencher<'_, '_>, side: usize) {
        ours_decoding(bencher, "zstd", &configuration(), side);
    }

    #[divan::bench(args = SIDES)]
    fn decode_fresh_context(bencher: Bencher<'_, '_>, side: usize) {
        rival_decoding(bencher, ("zstd", &configuration()), side, |encoded, len_bytes| {
            let mut decoded = vec![0; len_bytes];
            zstd_safe::decompress(decoded.as_mut_slice(), encoded).unwrap();
            decoded
        });
    }

    #[divan::bench(args = SIDES)]
    fn encode(bencher: Bencher<'_, '_>, side: usize) {
        ours_encoding(bencher, "zstd", &configuration(), side);
    }

    #[divan::bench(args = SIDES)]
    fn encode_fresh_context(bencher: Bencher<'_, '_>, side: usize) {
        rival_encoding(bencher, ("zstd", &configuration()), side, |chunk| {
            let mut encoded = vec![0; zstd_safe::compress_bound(chunk.len())];
            let written_bytes = zstd_safe::compress(encoded.as_mut_slice(), chunk, 1).unwrap();
            encoded.truncate(written_bytes);
            encoded
        });
    }
}

#[divan::bench_group(max_time = 0.5)]
mod gzip_1 {
    use std::io::{Read, Write};

    use flate2::Compression;
    use flate2::read::GzDecoder;
    use flate2::write::GzEncoder;

    use super::{Bencher, SIDES, Value, ours_decoding, ours_encoding, rival_decoding, rival_encoding};

    fn configuration() -> Value {
        serde_json::json!({"level": 1})
    }

    #[divan::bench(args = SIDES)]
    fn decode(bencher: Bencher<'_, '_>, side: usize) {
        ours_decoding(bencher, "gzip", &configuration(), side);
    }

    #[divan::bench(args = SIDES)]
    fn decode_zlib_rs(bencher: Bencher<'_, '_>, side: usize) {
        rival_decoding(bencher, ("gzip", &configuration()), side, |encoded, len_bytes| {
            let mut decoded = vec![0; len_bytes];
            GzDecoder::new(encoded).read_exact(&mut decoded).unwrap();
            decoded
        });
    }

    #[divan::bench(args = SIDES)]
    fn encode(bencher: Bencher<'_, '_>, side: usize) {
        ours_encoding(bencher, "gzip", &configuration(), side);
    }

    #[divan::bench(args = SIDES)]
    fn encode_zlib_rs(bencher: Bencher<'_, '_>, side: usize) {
        rival_encoding(bencher, ("gzip", &configuration()), side, |chunk| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
            encoder.write_all(chunk).unwrap();
            encoder.finish().unwrap()
        });
    }
}

#[divan::bench_group(max_time = 0.5)]
mod blosc_lz4_5 {
    use super::{Bencher, SIDES, Value, ours_decoding, ours_encoding, rival_decoding, rival_encoding};

    const LEVEL: i32 = 5;
    const BYTE_SHUFFLE: i32 = 1;
    const HEADER_BYTES: usize = 16;

    fn configuration() -> Value {
        serde_json::json!({"cname": "lz4", "clevel": LEVEL, "shuffle": "shuffle", "typesize": 2, "blocksize": 0})
    }

    #[divan::bench(args = SIDES)]
    fn decode(bencher: Bencher<'_, '_>, side: usize) {
        ours_decoding(bencher, "blosc", &configuration(), side);
    }

    #[divan::bench(args = SIDES)]
    fn decode_fresh_memory(bencher: Bencher<'_, '_>, side: usize) {
        rival_decoding(bencher, ("blosc", &configuration()), side, |encoded, len_bytes| {
            let mut decoded = vec![0_u8; len_bytes];
            let (source, target) = (encoded.as_ptr().cast(), decoded.as_mut_ptr().cast());
            // SAFETY: a whole frame, and memory of the length that is passed along.
            let written_bytes = unsafe { blosc_src::blosc_decompress_ctx(source, target, len_bytes, 1) };
            assert_eq!(usize::try_from(written_bytes), Ok(len_bytes));
            decoded
        });
    }

    #[divan::bench(args = SIDES)]
    fn encode(bencher: Bencher<'_, '_>, side: usize) {
        ours_encoding(bencher, "blosc", &configuration(), side);
    }

    #[divan::bench(args = SIDES)]
    fn encode_fresh_memory(bencher: Bencher<'_, '_>, side: usize) {
        rival_encoding(bencher, ("blosc", &configuration()), side, |chunk| {
            let mut encoded = vec![0_u8; chunk.len() + HEADER_BYTES];
            // SAFETY: the chunk, and memory of the length that is passed along; the name is a C string.
            let written_bytes = unsafe {
                blosc_src::blosc_compress_ctx(
                    LEVEL,
                    BYTE_SHUFFLE,
                    2,
                    chunk.len(),
                    chunk.as_ptr().cast(),
                    encoded.as_mut_ptr().cast(),
                    encoded.len(),
                    c"lz4".as_ptr(),
                    0,
                    1,
                )
            };
            encoded.truncate(usize::try_from(written_bytes).unwrap());
            encoded
        });
    }
}

#[divan::bench_group(max_time = 0.5)]
mod crc32c {
    use super::{Bencher, SIDES, Value, ours_decoding, rival_decoding};

    fn configuration() -> Value {
        serde_json::json!({"location": "end"})
    }

    #[divan::bench(args = SIDES)]
    fn decode(bencher: Bencher<'_, '_>, side: usize) {
        ours_decoding(bencher, "crc32c", &configuration(), side);
    }

    /// The checksum and a copy: what decoding cannot do without.
    #[divan::bench(args = SIDES)]
    fn decode_floor(bencher: Bencher<'_, '_>, side: usize) {
        rival_decoding(bencher, ("crc32c", &configuration()), side, |encoded, len_bytes| {
            assert_eq!(::crc32c::crc32c(&encoded[..len_bytes]).to_le_bytes(), encoded[len_bytes..]);
            encoded[..len_bytes].to_vec()
        });
    }
}
