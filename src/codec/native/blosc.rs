//! Blosc 1 frames, by the C library's functions that keep no global state.
//!
//! The library trusts much of what a frame's header says, above all its length: it never learns how long
//! the input is. So the header is read and checked here first ([`Header::parse`]), and the library is
//! called only for a frame that lies within the input and fits the output. Bytes after the frame are
//! ignored, as numcodecs does.
//!
//! Each call runs on its own thread alone; the parallelism is over chunks, and over the blocks of a large one
//! that is decoded in parts.
#![expect(unsafe_code, reason = "wraps the C library")]

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::sync::Arc;

use serde_json::Value;

use super::configuration::{integer, integer_within, text};
use super::output::{Output, append, damaged, generous, too_long, truncated};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};

const HEADER_BYTES: usize = 16;
const FORMAT_VERSION: u8 = 2;
/// Longest contents of a frame, `BLOSC_MAX_BUFFERSIZE`.
const MAX_DECODED_BYTES: usize = i32::MAX as usize - HEADER_BYTES;
/// Longest block, `BLOSC_MAX_BLOCKSIZE`.
const MAX_BLOCK_BYTES: usize = 715_827_542;
/// Larger elements are shuffled as single bytes.
const MAX_TYPE_SIZE: usize = 255;
const FLAG_STORED: u8 = 0x02;
const FLAG_RESERVED: u8 = 0x08;
const COMPRESSORS: [(&str, &CStr); 6] = [
    ("blosclz", c"blosclz"),
    ("lz4", c"lz4"),
    ("lz4hc", c"lz4hc"),
    ("snappy", c"snappy"),
    ("zlib", c"zlib"),
    ("zstd", c"zstd"),
];

/// Binds `blosc`: `cname`, `clevel`, `shuffle` (numcodecs' numbers or Zarr v3's words), `blocksize` and
/// `typesize`. Without `typesize` it is that of the array's elements.
pub(super) fn bind(
    configuration: &Value,
    decoded: &ArraySpec,
    _options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    Ok(Arc::new(Blosc::new(configuration, decoded)?))
}

/// A bound `blosc` codec.
#[derive(Debug)]
pub struct Blosc {
    compressor: &'static CStr,
    level: c_int,
    shuffle: c_int,
    block_bytes: usize,
    type_size: usize,
}

impl Blosc {
    fn new(configuration: &Value, decoded: &ArraySpec) -> Result<Self, BindError> {
        let name = text(configuration, "cname")?.unwrap_or("lz4");
        let Some(&(_, compressor)) = COMPRESSORS.iter().find(|(known, _)| *known == name) else {
            return Err(BindError::Unsupported(format!("blosc compressor {name:?} is not known")));
        };
        let item_size = decoded.dtype.item_size.max(1);
        let type_size = match integer(configuration, "typesize")? {
            None | Some(0) => item_size,
            Some(type_size) => usize::try_from(type_size)
                .map_err(|_| BindError::Invalid(format!("\"typesize\" must be positive, not {type_size}")))?,
        };
        // The library would take a negative number for a huge one, and that for its own minimum.
        let block_bytes = integer_within(configuration, "blocksize", i32::MIN..=i32::MAX, 0)?;
        Ok(Self {
            compressor,
            level: integer_within(configuration, "clevel", 0..=9, 5)?,
            shuffle: shuffle(configuration, type_size)?,
            block_bytes: usize::try_from(block_bytes).unwrap_or(1),
            type_size: if type_size > MAX_TYPE_SIZE { 1 } else { type_size },
        })
    }
}

/// The filter's number. Automatic means by bits for single bytes and by bytes otherwise; numcodecs'
/// default is by bytes.
fn shuffle(configuration: &Value, type_size: usize) -> Result<c_int, BindError> {
    let shuffle = match configuration.get("shuffle") {
        Some(Value::String(word)) => match word.as_str() {
            "noshuffle" => 0,
            "shuffle" => 1,
            "bitshuffle" => 2,
            _ => {
                let message = "\"shuffle\" must be noshuffle, shuffle or bitshuffle";
                return Err(BindError::Invalid(format!("{message}, not {word:?}")));
            }
        },
        _ => integer_within(configuration, "shuffle", -1..=2, 1)?,
    };
    Ok(match shuffle {
        -1 if type_size == 1 => 2,
        -1 => 1,
        explicit => explicit,
    })
}

/// What a frame says of itself, as far as it can be true.
struct Header {
    type_size: usize,
    block_bytes: usize,
    decoded_bytes: usize,
}

impl Header {
    /// Reads and checks the header of the frame at the start of `encoded`.
    fn parse(encoded: &[u8]) -> Result<Self, CodecFault> {
        let &[version, _, flags, type_size, n0, n1, n2, n3, b0, b1, b2, b3, c0, c1, c2, c3] =
            encoded.first_chunk::<HEADER_BYTES>().ok_or_else(truncated)?;
        let field = |bytes| usize::try_from(i32::from_le_bytes(bytes)).ok();
        let (Some(decoded_bytes), Some(block_bytes), Some(frame_bytes)) =
            (field([n0, n1, n2, n3]), field([b0, b1, b2, b3]), field([c0, c1, c2, c3]))
        else {
            return Err(damaged("a length in its header is negative"));
        };
        if version != FORMAT_VERSION || flags & FLAG_RESERVED != 0 {
            return Err(damaged("its format version is not known"));
        }
        if frame_bytes > encoded.len() {
            return Err(truncated());
        }
        if frame_bytes < HEADER_BYTES || decoded_bytes > MAX_DECODED_BYTES {
            return Err(damaged("a length in its header is impossible"));
        }
        if type_size == 0 || block_bytes == 0 || block_bytes > MAX_BLOCK_BYTES {
            return Err(damaged("its element or block size is impossible"));
        }
        // The library allocates two blocks; one is never longer than the contents (1 byte if those are
        // empty).
        if block_bytes > decoded_bytes.max(1) {
            return Err(damaged("its blocks are longer than its contents"));
        }
        let needed_bytes = if flags & FLAG_STORED != 0 {
            decoded_bytes
        } else {
            // The start of each block takes four bytes.
            decoded_bytes.div_ceil(block_bytes).saturating_mul(4)
        };
        if needed_bytes > frame_bytes - HEADER_BYTES {
            return Err(damaged("it is shorter than its header says"));
        }
        Ok(Self { type_size: usize::from(type_size), block_bytes, decoded_bytes })
    }
}

fn decode(encoded: &[u8], mut output: Output<'_>) -> Result<(), CodecFault> {
    let header = Header::parse(encoded)?;
    while output.spare().len() < header.decoded_bytes {
        output.grow()?;
    }
    if header.decoded_bytes > 0 {
        let room = output.spare();
        // SAFETY: `Header::parse` found that the frame lies within `encoded`; the room's length is passed
        // along and the library keeps to it.
        let written_bytes = unsafe {
            blosc_src::blosc_decompress_ctx(
                encoded.as_ptr().cast(),
                room.as_mut_ptr().cast(),
                header.decoded_bytes,
                1,
            )
        };
        if usize::try_from(written_bytes) != Ok(header.decoded_bytes) {
            return Err(damaged_blocks());
        }
        // SAFETY: the library has written as much as it says.
        unsafe { output.advance(header.decoded_bytes) };
    }
    output.finish()
}

fn damaged_blocks() -> CodecFault {
    damaged("its blocks do not decode")
}

impl Codec for Blosc {
    fn name(&self) -> &'static str {
        "blosc"
    }

    fn encoded_len(&self, _decoded_len_bytes: usize) -> Option<usize> {
        None
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        generous(decoded_len_bytes.saturating_add(HEADER_BYTES))
    }

    fn decode_into(
        &self,
        encoded: &[u8],
        decoded: &mut [u8],
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        decode(encoded, Output::exact(decoded))
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let header = Header::parse(encoded)?;
        if header.decoded_bytes > limit_bytes {
            return Err(too_long(limit_bytes));
        }
        decode(encoded, Output::growing(decoded, header.decoded_bytes, header.decoded_bytes))
    }

    fn block_bytes(
        &self,
        encoded: &[u8],
        decoded_len_bytes: usize,
        item_size: usize,
    ) -> Result<Option<usize>, CodecFault> {
        let header = Header::parse(encoded)?;
        if header.decoded_bytes != decoded_len_bytes {
            return Err(CodecFault::DecodedLength {
                expected: decoded_len_bytes,
                actual: header.decoded_bytes,
            });
        }
        // The library counts in elements of the size that the writer gave, which may differ from ours. And of
        // blocks that are no whole number of them, which no writer makes, it would hand out bytes that it
        // never set.
        let is_whole = |bytes: usize| bytes.is_multiple_of(header.type_size);
        let has_parts = header.block_bytes < header.decoded_bytes
            && [item_size, header.block_bytes, header.decoded_bytes].into_iter().all(is_whole);
        Ok(has_parts.then_some(header.block_bytes))
    }

    fn decode_part(&self, encoded: &[u8], first_byte: usize, decoded: &mut [u8]) -> Result<(), CodecFault> {
        let header = Header::parse(encoded)?;
        let end = first_byte.saturating_add(decoded.len());
        if end > header.decoded_bytes {
            return Err(CodecFault::DecodedLength { expected: end, actual: header.decoded_bytes });
        }
        if decoded.is_empty() {
            return Ok(());
        }
        let type_size = header.type_size;
        if [first_byte, end, header.block_bytes].iter().any(|bytes| !bytes.is_multiple_of(type_size)) {
            return Err(damaged("its elements have another size than the array's"));
        }
        let (first, count) = (first_byte / type_size, decoded.len() / type_size);
        let (Ok(first), Ok(count)) = (c_int::try_from(first), c_int::try_from(count)) else {
            return Err(damaged("the elements asked for lie beyond its contents"));
        };
        // SAFETY: `Header::parse` found that the frame lies within `encoded`. The range lies within the
        // contents and `decoded` has its length, by the checks above; the library checks the blocks.
        let written_bytes = unsafe {
            blosc_src::blosc_getitem(encoded.as_ptr().cast(), first, count, decoded.as_mut_ptr().cast())
        };
        if usize::try_from(written_bytes) == Ok(decoded.len()) { Ok(()) } else { Err(damaged_blocks()) }
    }

    fn encode(
        &self,
        decoded: &[u8],
        encoded: &mut Vec<u8>,
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        if decoded.len() > MAX_DECODED_BYTES {
            let message = "blosc holds at most 2147483631 bytes; use smaller chunks or another compressor";
            return Err(CodecFault::Value(message.to_owned()));
        }
        let write = |room: &mut [MaybeUninit<u8>]| {
            // SAFETY: the pointers and lengths are those of live slices, `type_size` is 1 to 255 and the
            // level and the filter are in range by `Blosc::new`.
            let written_bytes = unsafe {
                blosc_src::blosc_compress_ctx(
                    self.level,
                    self.shuffle,
                    self.type_size,
                    decoded.len(),
                    decoded.as_ptr().cast(),
                    room.as_mut_ptr().cast(),
                    decoded.len() + HEADER_BYTES,
                    self.compressor.as_ptr(),
                    self.block_bytes,
                    1,
                )
            };
            match usize::try_from(written_bytes) {
                Ok(written_bytes) if written_bytes > 0 => Ok(written_bytes),
                _ => Err(CodecFault::Library { library: "blosc", reason: format!("code {written_bytes}") }),
            }
        };
        // SAFETY: the library has written as much as it says, from the start of the room.
        unsafe { append(encoded, decoded.len() + HEADER_BYTES, write) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{
        assert_round_trips, assert_survives_damage, bound, decode_exactly, encoded, try_bind,
    };
    use super::*;
    use crate::codec::DataType;

    fn blosc(configuration: &Value, dtype: &str) -> Blosc {
        let decoded = ArraySpec { chunk_shape: vec![10], dtype: DataType::parse(dtype).unwrap() };
        Blosc::new(configuration, &decoded).unwrap()
    }

    /// Bytes that compress whatever the filter: one noisy bit a word.
    fn words(count: u32) -> Vec<u8> {
        (0..count)
            .flat_map(|word| (word / 7 + (word.wrapping_mul(2_654_435_761) >> 31)).to_le_bytes())
            .collect()
    }

    #[test]
    fn round_trips_with_every_compressor_and_filter() {
        for (cname, _) in COMPRESSORS {
            for shuffle in [-1, 0, 1, 2] {
                for (clevel, dtype) in [(0, "|u1"), (1, "<u2"), (5, "<f8"), (9, "|V7")] {
                    let configuration = json!({ "cname": cname, "clevel": clevel, "shuffle": shuffle });
                    assert_round_trips("blosc", &configuration, dtype);
                }
            }
        }
        for block_bytes in [-1, 1, 100, 256, 4096, 1 << 20] {
            assert_round_trips("blosc", &json!({ "blocksize": block_bytes }), "<u2");
        }
        for type_size in [0, 1, 3, 255, 256, 100_000] {
            assert_round_trips("blosc", &json!({ "typesize": type_size }), "<u2");
        }
    }

    #[test]
    fn settings_are_checked() {
        for wrong in [
            json!({ "cname": "foo" }),
            json!({ "clevel": 10 }),
            json!({ "clevel": -1 }),
            json!({ "shuffle": 3 }),
            json!({ "shuffle": "yes" }),
            json!({ "typesize": -1 }),
            json!({ "blocksize": 1_u64 << 31 }),
        ] {
            assert!(try_bind("blosc", &wrong, "<u2").is_err(), "{wrong}");
        }
    }

    #[test]
    fn filter_and_element_size_follow_the_data_type() {
        let auto = json!({ "shuffle": -1 });
        assert_eq!((blosc(&auto, "|u1").shuffle, blosc(&auto, "|u1").type_size), (2, 1));
        assert_eq!((blosc(&auto, "<f4").shuffle, blosc(&auto, "<f4").type_size), (1, 4));
        assert_eq!((blosc(&auto, "|S0").shuffle, blosc(&auto, "|S300").type_size), (2, 1));
        let fixed = json!({ "shuffle": "bitshuffle", "typesize": 8 });
        assert_eq!((blosc(&fixed, "<f4").shuffle, blosc(&fixed, "<f4").type_size), (2, 8));
    }

    #[test]
    fn damage_is_survived() {
        for cname in ["blosclz", "lz4", "snappy", "zlib", "zstd"] {
            for shuffle in [0, 1, 2] {
                let configuration = json!({ "cname": cname, "shuffle": shuffle });
                assert_survives_damage("blosc", &configuration, "<u2", false);
            }
        }
    }

    #[test]
    fn damaged_blocks_and_block_starts_are_survived() {
        let data = words(1500);
        for cname in ["blosclz", "lz4", "snappy", "zlib", "zstd"] {
            for shuffle in [0, 1, 2] {
                let configuration = json!({ "cname": cname, "shuffle": shuffle, "blocksize": 1024 });
                let codec = blosc(&configuration, "<u4");
                let mut scratch = Scratch::default();
                let mut frame = Vec::new();
                codec.encode(&data, &mut frame, &mut scratch).unwrap();
                assert!(frame.len() < data.len());
                let mut decoded = vec![0; data.len()];
                for position in 0..frame.len() {
                    let sound = frame[position];
                    for damage in [sound ^ 1, sound ^ 0x80, !sound] {
                        frame[position] = damage;
                        let _ = codec.decode_into(&frame, &mut decoded, &mut scratch);
                        let _ = codec.decode_part(&frame, 2800, &mut decoded[..400]);
                    }
                    frame[position] = sound;
                }
            }
        }
    }

    #[test]
    fn lying_headers_are_refused() {
        let frame = encoded("blosc", &json!({ "cname": "lz4" }), &words(200));
        let fields = [4, 8, 12];
        for at in fields {
            let sound = i32::from_le_bytes(*frame[at..].first_chunk().unwrap());
            for lie in [0, 1, 15, 16, sound - 1, sound + 1, sound * 2, i32::MAX, i32::MAX - 16, -1, i32::MIN]
            {
                let mut lying = frame.clone();
                lying[at..at + 4].copy_from_slice(&lie.to_le_bytes());
                let decoded = decode_exactly("blosc", &json!({}), &lying, 800);
                assert!(decoded.is_err() || lie == sound, "field at {at} says {lie}");
                let mut grown = Vec::new();
                let _ = bound("blosc", &json!({}), "|u1").decode_bounded(
                    &lying,
                    &mut grown,
                    5000,
                    &mut Scratch::default(),
                );
                assert!(grown.capacity() <= 5000);
            }
        }
        let mut no_type = frame;
        no_type[3] = 0;
        assert!(decode_exactly("blosc", &json!({}), &no_type, 800).is_err());
    }

    #[test]
    fn what_follows_the_frame_is_ignored() {
        let frame = encoded("blosc", &json!({}), b"chunk");
        for tail in [&b"garbage"[..], &[0], &frame] {
            assert_eq!(decode_exactly("blosc", &json!({}), &[&frame, tail].concat(), 5).unwrap(), b"chunk");
        }
        assert!(decode_exactly("blosc", &json!({}), b"", 0).is_err());
    }

    #[test]
    fn ranges_of_elements_equal_the_whole() {
        let data = words(5000);
        for (cname, shuffle, clevel) in [("lz4", 1, 5), ("zstd", 2, 5), ("blosclz", 0, 9), ("lz4", 1, 0)] {
            for type_size in [1, 3, 4, 8] {
                let codec = blosc(
                    &json!({ "cname": cname, "shuffle": shuffle, "clevel": clevel, "blocksize": 1024,
                             "typesize": type_size }),
                    "<u4",
                );
                let mut frame = Vec::new();
                codec.encode(&data, &mut frame, &mut Scratch::default()).unwrap();
                for (start, count) in [(0, 5000), (0, 1), (4999, 1), (17, 1000), (255, 2), (5000, 0), (3, 0)]
                {
                    let mut out = vec![0xaa; count * 4];
                    let found = codec.decode_part(&frame, start * 4, &mut out);
                    if codec.block_bytes(&frame, 20_000, 4).unwrap().is_none() && found.is_err() {
                        assert!(4 % type_size != 0);
                        continue;
                    }
                    found.unwrap();
                    assert_eq!(out, data[start * 4..(start + count) * 4], "{cname} {type_size} {start}");
                }
                let mut out = vec![0; 40];
                for first_byte in [19_964, 20_000, usize::MAX, usize::MAX - 40, 1] {
                    assert!(
                        codec.decode_part(&frame, first_byte, &mut out).is_err()
                            || type_size == 1 && first_byte == 1
                    );
                }
                assert!(codec.decode_part(&frame, 19_964, &mut out).is_err());
                assert!(codec.decode_part(&frame[..frame.len() - 1], 0, &mut out).is_err());
                assert!(codec.block_bytes(&frame, 20_001, 4).is_err());
            }
        }
    }
}
