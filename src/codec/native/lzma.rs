//! LZMA as Python's `lzma` module reads and writes it: `.xz` files, `.lzma` files and raw streams; see
//! [`super::streams`] for what may follow a stream.
//!
//! What the Python class refuses (such as filters for any format but raw) and filter chains other than
//! delta filters before LZMA1 or LZMA2 are [`BindError::Unsupported`]: the class then runs, or raises its
//! own error.

use std::mem::MaybeUninit;
use std::sync::Arc;

use liblzma::stream::{
    Action, Check, Error, Filters, LzmaOptions, MatchFinder, Mode, PRESET_DEFAULT, PRESET_EXTREME, Status,
    Stream,
};
use serde_json::Value;

use super::configuration::integer;
use super::output::{Output, damaged, generous};
use super::streams::{self, Step, StreamDecoder, difference};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::scratch::reserve;
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};

// The numbers of Python's `lzma` module.
const FORMAT_XZ: i64 = 1;
const FORMAT_ALONE: i64 = 2;
const FORMAT_RAW: i64 = 3;
const FILTER_DELTA: i64 = 3;
const FILTER_LZMA1: i64 = 0x4000_0000_0000_0001;
const FILTER_LZMA2: i64 = 0x21;

/// What a decoder may allocate beyond twice the decoded length. A header states the size of the
/// dictionary, and liblzma allocates it before it sees data; 64 MiB is that of the highest preset.
const DICTIONARY_ALLOWANCE_BYTES: usize = 80 << 20;
/// Longest output that the encoder gets room for at once.
const ENCODE_STEP_BYTES: usize = 64 << 10;

/// Binds `lzma`: `format`, `check`, `preset` and `filters`, with the numbers of Python's module.
pub(super) fn bind(
    configuration: &Value,
    _decoded: &ArraySpec,
    _options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let check = integer(configuration, "check")?.unwrap_or(-1);
    let preset = preset(configuration)?;
    let filters = configuration.get("filters").filter(|filters| !filters.is_null());
    let format = match (integer(configuration, "format")?.unwrap_or(FORMAT_XZ), filters) {
        (FORMAT_XZ, None) => {
            let check = match check {
                -1 | 4 => Check::Crc64,
                0 => Check::None,
                1 => Check::Crc32,
                10 => Check::Sha256,
                _ => return Err(unsupported("its check")),
            };
            Format::Xz { preset: preset.unwrap_or(PRESET_DEFAULT), check }
        }
        (_, _) if !(-1..=0).contains(&check) => return Err(unsupported("a check outside of the xz format")),
        (FORMAT_ALONE, None) => Format::Alone { preset: preset.unwrap_or(PRESET_DEFAULT) },
        (FORMAT_RAW, Some(Value::Array(filters))) if preset.is_none() => {
            let chain = FilterChain::parse(filters)?;
            // Options outside of their range are for liblzma to find.
            chain
                .filters()
                .and_then(|filters| Stream::new_raw_decoder(&filters))
                .map_err(|_| unsupported("its filter chain"))?;
            Format::Raw { chain }
        }
        _ => return Err(unsupported("its combination of format, preset and filters")),
    };
    Ok(Arc::new(Lzma { format }))
}

fn unsupported(what: &str) -> BindError {
    BindError::Unsupported(format!("lzma with {what} has no native engine"))
}

fn preset(configuration: &Value) -> Result<Option<u32>, BindError> {
    let Some(preset) = integer(configuration, "preset")? else { return Ok(None) };
    u32::try_from(preset)
        .ok()
        .filter(|preset| preset & !PRESET_EXTREME <= 9)
        .map(Some)
        .ok_or_else(|| unsupported("its preset"))
}

struct Lzma {
    format: Format,
}

enum Format {
    Xz { preset: u32, check: Check },
    Alone { preset: u32 },
    Raw { chain: FilterChain },
}

/// Delta filters, then the compressor. liblzma's own chain holds pointers and belongs to one thread, so
/// that it is made anew for each call.
struct FilterChain {
    /// Distance less one, as liblzma stores it.
    deltas: Vec<u8>,
    is_lzma2: bool,
    settings: CompressorSettings,
}

impl FilterChain {
    fn parse(filters: &[Value]) -> Result<Self, BindError> {
        let (last, before) = filters.split_last().ok_or_else(|| unsupported("no filters"))?;
        let deltas = before.iter().map(delta).collect::<Result<_, _>>()?;
        let is_lzma2 = match integer(last, "id")? {
            Some(FILTER_LZMA2) => true,
            Some(FILTER_LZMA1) => false,
            _ => return Err(unsupported("its last filter")),
        };
        Ok(Self { deltas, is_lzma2, settings: CompressorSettings::parse(last)? })
    }

    fn filters(&self) -> Result<Filters, Error> {
        let mut filters = Filters::new();
        for distance in &self.deltas {
            filters.delta_properties(&[*distance])?;
        }
        let options = self.settings.options()?;
        if self.is_lzma2 {
            filters.lzma2(&options);
        } else {
            filters.lzma1(&options);
        }
        Ok(filters)
    }
}

fn delta(filter: &Value) -> Result<u8, BindError> {
    if integer(filter, "id")? != Some(FILTER_DELTA) {
        return Err(unsupported("a filter other than delta before the compressor"));
    }
    let distance = integer(filter, "dist")?.unwrap_or(1);
    u8::try_from(distance - 1).map_err(|_| unsupported("its delta distance"))
}

/// The options of the compressor: a preset, and what replaces parts of it.
struct CompressorSettings {
    preset: u32,
    dict_size: Option<u32>,
    lc: Option<u32>,
    lp: Option<u32>,
    pb: Option<u32>,
    mode: Option<Mode>,
    nice_len: Option<u32>,
    match_finder: Option<MatchFinder>,
    depth: Option<u32>,
}

impl CompressorSettings {
    fn parse(filter: &Value) -> Result<Self, BindError> {
        let number = |key| -> Result<Option<u32>, BindError> {
            integer(filter, key)?
                .map(|value| u32::try_from(value).map_err(|_| unsupported("an option out of range")))
                .transpose()
        };
        Ok(Self {
            preset: preset(filter)?.unwrap_or(PRESET_DEFAULT),
            dict_size: number("dict_size")?,
            lc: number("lc")?,
            lp: number("lp")?,
            pb: number("pb")?,
            mode: match number("mode")? {
                None => None,
                Some(1) => Some(Mode::Fast),
                Some(2) => Some(Mode::Normal),
                Some(_) => return Err(unsupported("its mode")),
            },
            nice_len: number("nice_len")?,
            match_finder: match number("mf")? {
                None => None,
                Some(0x03) => Some(MatchFinder::HashChain3),
                Some(0x04) => Some(MatchFinder::HashChain4),
                Some(0x12) => Some(MatchFinder::BinaryTree2),
                Some(0x13) => Some(MatchFinder::BinaryTree3),
                Some(0x14) => Some(MatchFinder::BinaryTree4),
                Some(_) => return Err(unsupported("its match finder")),
            },
            depth: number("depth")?,
        })
    }

    fn options(&self) -> Result<LzmaOptions, Error> {
        let mut options = LzmaOptions::new_preset(self.preset)?;
        self.dict_size.map(|bytes| options.dict_size(bytes));
        self.lc.map(|bits| options.literal_context_bits(bits));
        self.lp.map(|bits| options.literal_position_bits(bits));
        self.pb.map(|bits| options.position_bits(bits));
        self.mode.map(|mode| options.mode(mode));
        self.nice_len.map(|len| options.nice_len(len));
        self.match_finder.map(|match_finder| options.match_finder(match_finder));
        self.depth.map(|depth| options.depth(depth));
        Ok(options)
    }
}

impl std::fmt::Debug for Lzma {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let format = match self.format {
            Format::Xz { .. } => "xz",
            Format::Alone { .. } => "alone",
            Format::Raw { .. } => "raw",
        };
        formatter.debug_struct("Lzma").field("format", &format).finish_non_exhaustive()
    }
}

impl Lzma {
    fn decode(&self, encoded: &[u8], output: Output<'_>, longest_bytes: usize) -> Result<(), CodecFault> {
        let memory_limit = longest_bytes.saturating_mul(2).saturating_add(DICTIONARY_ALLOWANCE_BYTES) as u64;
        streams::decode(encoded, output, || {
            let stream = match &self.format {
                Format::Xz { .. } => Stream::new_stream_decoder(memory_limit, 0),
                Format::Alone { .. } => Stream::new_lzma_decoder(memory_limit),
                Format::Raw { chain } => {
                    chain.filters().and_then(|filters| Stream::new_raw_decoder(&filters))
                }
            };
            stream.map_err(library)
        })?;
        // Of no streams at all, Python's module says that the end is missing.
        if encoded.is_empty() { Err(super::output::truncated()) } else { Ok(()) }
    }
}

impl Codec for Lzma {
    fn name(&self) -> &'static str {
        "lzma"
    }

    fn encoded_len(&self, _decoded_len_bytes: usize) -> Option<usize> {
        None
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        generous(decoded_len_bytes.saturating_add(decoded_len_bytes / 8))
    }

    fn decode_into(
        &self,
        encoded: &[u8],
        decoded: &mut [u8],
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let len_bytes = decoded.len();
        self.decode(encoded, Output::exact(decoded), len_bytes)
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let expected = encoded.len().saturating_mul(4);
        self.decode(encoded, Output::growing(decoded, limit_bytes, expected), limit_bytes)
    }

    fn encode(
        &self,
        decoded: &[u8],
        encoded: &mut Vec<u8>,
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let mut stream = match &self.format {
            Format::Xz { preset, check } => Stream::new_easy_encoder(*preset, *check),
            Format::Alone { preset } => {
                LzmaOptions::new_preset(*preset).and_then(|options| Stream::new_lzma_encoder(&options))
            }
            Format::Raw { chain } => chain.filters().and_then(|filters| Stream::new_raw_encoder(&filters)),
        }
        .map_err(library)?;
        let mut rest = decoded;
        loop {
            reserve(encoded, ENCODE_STEP_BYTES)?;
            let used_before = stream.total_in();
            let status = stream.process_vec(rest, encoded, Action::Finish).map_err(library)?;
            rest = rest.get(difference(stream.total_in(), used_before)..).unwrap_or_default();
            if status == Status::StreamEnd {
                return Ok(());
            }
        }
    }
}

// SAFETY: the step's counts are the library's own of this call.
#[expect(unsafe_code, reason = "promises that the library's counts are true")]
unsafe impl StreamDecoder for Stream {
    fn step(&mut self, input: &[u8], room: &mut [MaybeUninit<u8>]) -> Result<Step, CodecFault> {
        let (used_before, written_before) = (self.total_in(), self.total_out());
        let status =
            self.process_uninit(input, room, Action::Run).map_err(|error| damaged(&error.to_string()))?;
        Ok(Step {
            used_bytes: difference(self.total_in(), used_before),
            written_bytes: difference(self.total_out(), written_before),
            has_ended: status == Status::StreamEnd,
        })
    }
}

fn library(error: Error) -> CodecFault {
    CodecFault::Library { library: "liblzma", reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{
        assert_round_trips, assert_survives_damage, bound, decode_exactly, encoded, try_bind,
    };
    use super::*;

    fn raw(filters: &Value) -> Value {
        json!({ "format": FORMAT_RAW, "filters": filters })
    }

    #[test]
    fn round_trips_in_every_format() {
        for configuration in [
            json!({ "preset": 0 }),
            json!({ "format": FORMAT_XZ, "check": 0, "preset": 1, "filters": null }),
            json!({ "check": 10, "preset": PRESET_EXTREME }),
            json!({ "format": FORMAT_ALONE, "check": -1, "preset": 1 }),
            raw(&json!([{ "id": FILTER_LZMA2, "preset": 1 }])),
            raw(&json!([{ "id": FILTER_DELTA, "dist": 2 }, { "id": FILTER_LZMA2, "preset": 0 }])),
            raw(&json!([{ "id": FILTER_LZMA1, "dict_size": 65536, "lc": 2, "lp": 1, "pb": 0, "mode": 1,
                         "nice_len": 32, "mf": 4, "depth": 8 }])),
        ] {
            assert_round_trips("lzma", &configuration, "<u2");
        }
    }

    #[test]
    fn what_python_must_answer_is_unsupported() {
        for configuration in [
            json!({ "format": 0 }),
            json!({ "format": FORMAT_RAW }),
            json!({ "check": 2 }),
            json!({ "format": FORMAT_ALONE, "check": 4 }),
            json!({ "preset": 10 }),
            json!({ "preset": -1 }),
            json!({ "filters": [{ "id": FILTER_LZMA2 }] }),
            json!({ "format": FORMAT_RAW, "preset": 1, "filters": [{ "id": FILTER_LZMA2 }] }),
            raw(&json!([])),
            raw(&json!([{ "id": 4 }, { "id": FILTER_LZMA2 }])),
            raw(&json!([{ "id": FILTER_DELTA }])),
            raw(&json!([{ "id": FILTER_DELTA, "dist": 257 }, { "id": FILTER_LZMA2 }])),
            raw(&json!([{ "id": FILTER_LZMA1, "lc": 4, "lp": 4 }])),
            raw(&json!([{ "id": FILTER_LZMA2, "mode": 3 }])),
        ] {
            let refusal = try_bind("lzma", &configuration, "|u1");
            assert!(matches!(refusal, Err(BindError::Unsupported(_))), "{configuration}");
        }
    }

    #[test]
    fn damage_is_noticed() {
        assert_survives_damage("lzma", &json!({ "preset": 0 }), "|u1", true);
        assert_survives_damage("lzma", &json!({ "preset": 0, "format": FORMAT_ALONE }), "|u1", false);
        assert_survives_damage("lzma", &raw(&json!([{ "id": FILTER_LZMA2, "preset": 0 }])), "|u1", false);
    }

    #[test]
    fn streams_and_garbage_are_read_as_python_reads_them() {
        let stream = encoded("lzma", &json!({}), b"chunk");
        let decode = |parts: &[&[u8]], len| decode_exactly("lzma", &json!({}), &parts.concat(), len);
        assert_eq!(decode(&[&stream, &stream], 10).unwrap(), b"chunkchunk");
        assert_eq!(decode(&[&stream, &[0; 5], &stream], 5).unwrap(), b"chunk");
        for tail in [&b"garbage"[..], &[0], &[0; 4], &stream[..5]] {
            assert!(decode(&[&stream, tail], 5).is_err());
        }
        assert!(decode(&[], 0).is_err());
        let alone = json!({ "format": FORMAT_ALONE });
        let stream = encoded("lzma", &alone, b"chunk");
        let with_garbage = [&stream[..], b"garbage"].concat();
        assert_eq!(decode_exactly("lzma", &alone, &with_garbage, 5).unwrap(), b"chunk");
        assert!(decode_exactly("lzma", &alone, &[&stream[..], &[0; 4]].concat(), 5).is_err());
    }

    #[test]
    fn a_claimed_dictionary_and_a_bomb_get_no_memory() {
        let alone = json!({ "format": FORMAT_ALONE });
        let mut lying = encoded("lzma", &alone, b"chunk");
        lying[1..5].copy_from_slice(&(3_u32 << 30).to_le_bytes());
        assert!(decode_exactly("lzma", &alone, &lying, 5).is_err());
        let bomb = encoded("lzma", &json!({ "preset": 0 }), &vec![0; 4 << 20]);
        let codec = bound("lzma", &json!({}), "|u1");
        let mut decoded = Vec::new();
        assert!(codec.decode_bounded(&bomb, &mut decoded, 1000, &mut Scratch::default()).is_err());
        assert!(decoded.capacity() <= 1000);
    }
}
