//! Blosc 1 frames, by the C library's functions that keep no global state.
//!
//! The library trusts much of what a frame's header says, above all its length: it never learns how long
//! the input is. So the header is read and checked here first ([`Header::parse`]), and the library is
//! called only for a frame that lies within the input and fits the output. Bytes after the frame are
//! ignored, as numcodecs does.
//!
//! Each call runs on its own thread alone; the parallelism is over chunks, and over the blocks of a large one
//! ([`super::blosc_blocks`]).
#![expect(unsafe_code, reason = "wraps the C library")]

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::sync::Arc;

use serde_json::Value;

use super::blosc_blocks;
use super::configuration::{integer, integer_within, text};
use super::output::{Output, append, damaged, generous, too_long, truncated};
use crate::codec::partial::Layout;
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};

pub(super) const HEADER_BYTES: usize = 16;
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

    /// Appends the frame of `decoded`, which the library makes no longer than `bound_bytes`.
    fn compress(&self, decoded: &[u8], bound_bytes: usize, encoded: &mut Vec<u8>) -> Result<(), CodecFault> {
        let write =
            |room: &mut [MaybeUninit<u8>]| match usize::try_from(self.call(decoded, bound_bytes, room)) {
                Ok(written_bytes) if written_bytes > 0 => Ok(written_bytes),
                code => Err(CodecFault::Library { library: "blosc", reason: format!("code {code:?}") }),
            };
        // SAFETY: the library has written as much as it says, from the start of the room.
        unsafe { append(encoded, bound_bytes, write) }
    }

    /// Calls the library, and answers what it does: the length of the frame, or a code of 0 or less.
    fn call(&self, decoded: &[u8], bound_bytes: usize, room: &mut [MaybeUninit<u8>]) -> c_int {
        assert!(
            bound_bytes <= room.len() && decoded.len() <= MAX_DECODED_BYTES,
            "there is room for the frame"
        );
        // SAFETY: the pointers and lengths are those of live slices, `type_size` is 1 to 255 and the level and
        // the filter are in range by `Blosc::new`.
        unsafe {
            blosc_src::blosc_compress_ctx(
                self.level,
                self.shuffle,
                self.type_size,
                decoded.len(),
                decoded.as_ptr().cast(),
                room.as_mut_ptr().cast(),
                bound_bytes,
                self.compressor.as_ptr(),
                self.block_bytes,
                1,
            )
        }
    }

    /// The length of the blocks that the library would cut `decoded` into. It tells nobody but a frame's header;
    /// so it is asked for one, with room for nothing else, and gives up at the first block.
    fn block_bytes_for(&self, decoded: &[u8]) -> Option<usize> {
        let mut room = [MaybeUninit::new(0_u8); HEADER_BYTES + 4];
        let code = self.call(decoded, HEADER_BYTES, &mut room);
        // SAFETY: all of it was initialised above, and the library only writes bytes.
        let head = room.map(|byte| unsafe { byte.assume_init() });
        let &[.., b0, b1, b2, b3, _, _, _, _] = head.first_chunk::<HEADER_BYTES>()?;
        (code == 0).then(|| usize::try_from(i32::from_le_bytes([b0, b1, b2, b3])).ok())?
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
#[derive(Debug)]
pub(super) struct Header {
    /// Decoded length of every block but the last.
    pub(super) block_bytes: usize,
    pub(super) decoded_bytes: usize,
    /// Length of the frame, header and table included.
    pub(super) frame_bytes: usize,
    /// Whether the contents follow the header as they are.
    pub(super) is_stored: bool,
}

impl Header {
    /// Reads and checks the header of the frame that begins with `head`, in `encoded_len` bytes.
    pub(super) fn parse(head: &[u8], encoded_len: usize) -> Result<Self, CodecFault> {
        let &[version, _, flags, type_size, n0, n1, n2, n3, b0, b1, b2, b3, c0, c1, c2, c3] =
            head.first_chunk::<HEADER_BYTES>().ok_or_else(truncated)?;
        let field = |bytes| usize::try_from(i32::from_le_bytes(bytes)).ok();
        let (Some(decoded_bytes), Some(block_bytes), Some(frame_bytes)) =
            (field([n0, n1, n2, n3]), field([b0, b1, b2, b3]), field([c0, c1, c2, c3]))
        else {
            return Err(damaged("a length in its header is negative"));
        };
        if version != FORMAT_VERSION || flags & FLAG_RESERVED != 0 {
            return Err(damaged("its format version is not known"));
        }
        if frame_bytes > encoded_len {
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
        let is_stored = flags & FLAG_STORED != 0;
        let needed_bytes = if is_stored {
            decoded_bytes
        } else {
            // The start of each block takes four bytes.
            decoded_bytes.div_ceil(block_bytes).saturating_mul(4)
        };
        if needed_bytes > frame_bytes - HEADER_BYTES {
            return Err(damaged("it is shorter than its header says"));
        }
        Ok(Self { block_bytes, decoded_bytes, frame_bytes, is_stored })
    }

    pub(super) fn block_count(&self) -> usize {
        self.decoded_bytes.div_ceil(self.block_bytes)
    }
}

/// Decodes a frame into memory of exactly its decoded length.
///
/// # Errors
/// Damaged data.
pub(super) fn decompress(header: &Header, frame: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
    if decoded.len() != header.decoded_bytes || frame.len() < header.frame_bytes {
        return Err(CodecFault::DecodedLength { expected: decoded.len(), actual: header.decoded_bytes });
    }
    // SAFETY: the frame and its contents have the lengths that its header says, by the checks above and those of
    // `Header::parse`; the library checks the blocks.
    let written_bytes = unsafe {
        blosc_src::blosc_decompress_ctx(frame.as_ptr().cast(), decoded.as_mut_ptr().cast(), decoded.len(), 1)
    };
    if usize::try_from(written_bytes) == Ok(decoded.len()) { Ok(()) } else { Err(damaged_blocks()) }
}

fn decode(encoded: &[u8], mut output: Output<'_>) -> Result<(), CodecFault> {
    let header = Header::parse(encoded, encoded.len())?;
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
        let header = Header::parse(encoded, encoded.len())?;
        if header.decoded_bytes > limit_bytes {
            return Err(too_long(limit_bytes));
        }
        decode(encoded, Output::growing(decoded, header.decoded_bytes, header.decoded_bytes))
    }

    fn head_bytes(&self) -> Option<usize> {
        Some(HEADER_BYTES)
    }

    fn layout(
        &self,
        head: &[u8],
        encoded_len: usize,
        decoded_len_bytes: usize,
    ) -> Result<Layout, CodecFault> {
        blosc_blocks::layout(head, encoded_len, decoded_len_bytes)
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
        self.compress(decoded, decoded.len() + HEADER_BYTES, encoded)
    }

    fn part_bytes(&self, decoded: &[u8]) -> Option<usize> {
        if self.level == 0 || decoded.len() > MAX_DECODED_BYTES {
            return None;
        }
        let block_bytes = self.block_bytes_for(decoded).filter(|bytes| (1..decoded.len()).contains(bytes))?;
        Some(blosc_blocks::part_bytes(block_bytes))
    }

    fn encode_part(
        &self,
        part: &[u8],
        encoded: &mut Vec<u8>,
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        // So much room that no part is stored as it is because of what the next ones could have made up for: of
        // blocks of 128 bytes or more each may be longer by its length in up to 16 splits, and by a sixth.
        let bound_bytes = part.len() * 2 + part.len() / 2 + (64 << 10);
        self.compress(part, bound_bytes.min(c_int::MAX.unsigned_abs() as usize), encoded)
    }

    fn join_part(
        &self,
        part: &[u8],
        first_byte: usize,
        decoded_len_bytes: usize,
        encoded: &mut Vec<u8>,
    ) -> Result<bool, CodecFault> {
        blosc_blocks::join(part, first_byte, decoded_len_bytes, encoded)
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
                        let _ = decode_blocks(&codec, &frame, data.len(), 2..4);
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

    /// Decodes some blocks of a frame as the pipeline does; `None` where it has none.
    fn decode_blocks(
        codec: &Blosc,
        frame: &[u8],
        decoded_len: usize,
        blocks: std::ops::Range<usize>,
    ) -> Result<Option<Vec<u8>>, CodecFault> {
        let mut head_bytes = codec.head_bytes().unwrap();
        let found = loop {
            match codec.layout(&frame[..head_bytes.min(frame.len())], frame.len(), decoded_len)? {
                Layout::Whole => return Ok(None),
                Layout::Head(more) => {
                    assert!(more > head_bytes && more <= frame.len());
                    head_bytes = more;
                }
                Layout::Blocks(found) => break found,
            }
        };
        let len = found.block_bytes();
        let mut decoded = vec![0xaa; (blocks.end * len).min(decoded_len) - blocks.start * len];
        let mut framed = vec![0; found.head_bytes(blocks.len())];
        blocks.clone().for_each(|block| framed.extend_from_slice(&frame[found.encoded_range(block)]));
        found.decode(blocks, &mut framed, &mut decoded)?;
        Ok(Some(decoded))
    }

    #[test]
    fn blocks_equal_the_whole() {
        let data = words(5000);
        for (cname, shuffle, clevel) in [
            ("lz4", 1, 5),
            ("zstd", 2, 5),
            ("blosclz", 0, 9),
            ("snappy", 1, 5),
            ("zlib", 1, 1),
            ("lz4", 1, 0),
        ] {
            for type_size in [1, 3, 4, 8] {
                let settings = json!({ "cname": cname, "shuffle": shuffle, "clevel": clevel,
                                       "blocksize": 1024, "typesize": type_size });
                let codec = blosc(&settings, "<u4");
                let mut frame = Vec::new();
                codec.encode(&data, &mut frame, &mut Scratch::default()).unwrap();
                let Layout::Blocks(found) = codec.layout(&frame, frame.len(), data.len()).unwrap() else {
                    // One block is as long as the whole.
                    assert!(matches!(cname, "blosclz" | "snappy" | "lz4" | "zlib"), "{settings}");
                    continue;
                };
                let (len, count) = (found.block_bytes(), data.len().div_ceil(found.block_bytes()));
                for blocks in [0..count, 0..1, count - 1..count, count - 2..count, 1..count - 1] {
                    if blocks.is_empty() {
                        continue;
                    }
                    let expected = &data[blocks.start * len..(blocks.end * len).min(data.len())];
                    let decoded = decode_blocks(&codec, &frame, data.len(), blocks.clone()).unwrap();
                    assert_eq!(decoded.as_deref(), Some(expected), "{settings} {blocks:?}");
                }
                assert!(codec.layout(&frame, frame.len(), data.len() + 1).is_err());
                assert!(codec.layout(&frame[..15], frame.len(), data.len()).is_err());
                assert!(codec.layout(&frame, frame.len() - 1, data.len()).is_err());
            }
        }
    }

    #[test]
    fn blocks_in_any_order_are_found_and_lying_tables_are_not_believed() {
        let data = words(5000);
        let codec = blosc(&json!({ "cname": "zstd", "blocksize": 1024 }), "<u4");
        let mut frame = Vec::new();
        codec.encode(&data, &mut frame, &mut Scratch::default()).unwrap();
        let Layout::Blocks(found) = codec.layout(&frame, frame.len(), data.len()).unwrap() else {
            panic!("it has blocks")
        };
        let count = data.len().div_ceil(found.block_bytes());
        // The same blocks from last to first, as another writer's threads might leave them.
        let mut turned = frame[..HEADER_BYTES + 4 * count].to_vec();
        for block in (0..count).rev() {
            let start = u32::try_from(turned.len()).unwrap();
            turned[HEADER_BYTES + 4 * block..][..4].copy_from_slice(&start.to_le_bytes());
            turned.extend_from_slice(&frame[found.encoded_range(block)]);
        }
        assert_eq!(turned.len(), frame.len());
        let mut whole = vec![0; data.len()];
        codec.decode_into(&turned, &mut whole, &mut Scratch::default()).unwrap();
        assert_eq!(whole, data);
        let decoded = decode_blocks(&codec, &turned, data.len(), 3..9).unwrap().unwrap();
        assert_eq!(decoded, data[3 * found.block_bytes()..9 * found.block_bytes()]);
        for lie in [0, 15, frame.len() - 1, frame.len(), usize::MAX >> 33, usize::MAX >> 32] {
            let mut lying = frame.clone();
            let stored = u32::try_from(lie).unwrap().to_le_bytes();
            lying[HEADER_BYTES + 4 * 2..][..4].copy_from_slice(&stored);
            lying[HEADER_BYTES + 4 * 5..][..4].copy_from_slice(&stored);
            assert!(matches!(codec.layout(&lying, lying.len(), data.len()).unwrap(), Layout::Whole), "{lie}");
            assert!(codec.decode_into(&lying, &mut whole, &mut Scratch::default()).is_err());
        }
    }

    #[test]
    fn joined_parts_are_what_the_library_writes() {
        let data = words(800_000);
        let mut scratch = Scratch::default();
        for (cname, _) in COMPRESSORS {
            for (shuffle, clevel) in [(0, 1), (1, 5), (2, 3)] {
                for (block_bytes, type_size) in [(0, 4), (0, 3), (0, 12), (4096, 2), (100_001, 8), (0, 255)] {
                    let settings = json!({ "cname": cname, "shuffle": shuffle, "clevel": clevel,
                                           "blocksize": block_bytes, "typesize": type_size });
                    let codec = blosc(&settings, "<u4");
                    let mut expected = Vec::new();
                    codec.encode(&data, &mut expected, &mut scratch).unwrap();
                    let part_bytes = codec.part_bytes(&data).unwrap();
                    let count = data.len() / part_bytes;
                    assert!(count > 1);
                    let mut joined = Vec::new();
                    for at in 0..count {
                        let end = if at + 1 == count { data.len() } else { (at + 1) * part_bytes };
                        let mut part = Vec::new();
                        codec.encode_part(&data[at * part_bytes..end], &mut part, &mut scratch).unwrap();
                        assert!(codec.join_part(&part, at * part_bytes, data.len(), &mut joined).unwrap());
                    }
                    assert!(joined == expected, "{settings}");
                }
            }
        }
        let stored = blosc(&json!({ "clevel": 0 }), "<u4");
        assert_eq!(stored.part_bytes(&data), None);
        let one_block = blosc(&json!({ "cname": "zstd", "blocksize": i32::MAX }), "<u4");
        assert_eq!(one_block.part_bytes(&data), None);
    }

    #[test]
    fn parts_of_noise_are_not_joined_to_more_than_the_noise() {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()
        };
        let data: Vec<u8> = (0..400_000).flat_map(|_| noise()).collect();
        let codec = blosc(&json!({ "cname": "lz4" }), "<u4");
        let mut scratch = Scratch::default();
        let part_bytes = codec.part_bytes(&data).unwrap();
        let mut joined = Vec::new();
        let is_joined = data.chunks(part_bytes).enumerate().all(|(at, part)| {
            let mut encoded = Vec::new();
            codec.encode_part(part, &mut encoded, &mut scratch).unwrap();
            codec.join_part(&encoded, at * part_bytes, data.len(), &mut joined).unwrap()
        });
        assert!(!is_joined || joined.len() <= data.len() + HEADER_BYTES);
    }
}
