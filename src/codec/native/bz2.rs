//! bzip2 files as Python's `bz2` module reads and writes them; see [`super::streams`] for what may follow
//! a stream.

use std::mem::MaybeUninit;
use std::sync::Arc;

use bzip2::{Action, Compress, Compression, Decompress, Status};
use serde_json::Value;

use super::configuration::integer_within;
use super::output::{Output, damaged, generous};
use super::streams::{self, Step, StreamDecoder, difference};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::scratch::reserve;
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};

/// The library's default, which it calls 0.
const WORK_FACTOR: u32 = 0;

/// Binds `bz2`: `level`, 1 to 9, the block size in units of 100 kB.
pub(super) fn bind(
    configuration: &Value,
    _decoded: &ArraySpec,
    _options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let level = integer_within(configuration, "level", 1..=9, 1)?;
    Ok(Arc::new(Bz2 { level: u32::try_from(level).unwrap_or(1) }))
}

#[derive(Debug)]
struct Bz2 {
    level: u32,
}

/// The longest stream that the library writes.
fn bound(decoded_len_bytes: usize) -> usize {
    decoded_len_bytes.saturating_add(decoded_len_bytes / 100).saturating_add(600)
}

impl Codec for Bz2 {
    fn name(&self) -> &'static str {
        "bz2"
    }

    fn encoded_len(&self, _decoded_len_bytes: usize) -> Option<usize> {
        None
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        generous(bound(decoded_len_bytes))
    }

    fn decode_into(
        &self,
        encoded: &[u8],
        decoded: &mut [u8],
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        streams::decode(encoded, Output::exact(decoded), open)
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let expected = encoded.len().saturating_mul(4);
        streams::decode(encoded, Output::growing(decoded, limit_bytes, expected), open)
    }

    fn encode(
        &self,
        decoded: &[u8],
        encoded: &mut Vec<u8>,
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let mut compressor = Compress::new(Compression::new(self.level), WORK_FACTOR);
        reserve(encoded, bound(decoded.len()))?;
        let mut rest = decoded;
        loop {
            let used_before = compressor.total_in();
            let status = compressor.compress_vec(rest, encoded, Action::Finish).map_err(library)?;
            rest = rest.get(difference(compressor.total_in(), used_before)..).unwrap_or_default();
            if status == Status::StreamEnd {
                return Ok(());
            }
            reserve(encoded, bound(rest.len()))?;
        }
    }
}

// SAFETY: the step's counts are the library's own of this call.
#[expect(unsafe_code, reason = "promises that the library's counts are true")]
unsafe impl StreamDecoder for Decompress {
    fn step(&mut self, input: &[u8], room: &mut [MaybeUninit<u8>]) -> Result<Step, CodecFault> {
        let (used_before, written_before) = (self.total_in(), self.total_out());
        let status = self.decompress_uninit(input, room).map_err(|error| damaged(&error.to_string()))?;
        if status == Status::MemNeeded {
            return Err(library("no memory for its blocks"));
        }
        Ok(Step {
            used_bytes: difference(self.total_in(), used_before),
            written_bytes: difference(self.total_out(), written_before),
            has_ended: status == Status::StreamEnd,
        })
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the streams of other formats can fail to open")]
fn open() -> Result<Decompress, CodecFault> {
    Ok(Decompress::new(false))
}

fn library(reason: impl std::fmt::Display) -> CodecFault {
    CodecFault::Library { library: "bzip2", reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{
        assert_round_trips, assert_survives_damage, bound, decode_exactly, encoded, try_bind,
    };
    use super::*;

    #[test]
    fn round_trips_at_many_levels() {
        for level in [1, 5, 9] {
            assert_round_trips("bz2", &json!({ "level": level }), "<u2");
        }
        for level in [0, 10, -1] {
            assert!(try_bind("bz2", &json!({ "level": level }), "|u1").is_err());
        }
    }

    #[test]
    fn damage_is_noticed() {
        assert_survives_damage("bz2", &json!({}), "|u1", true);
    }

    #[test]
    fn streams_and_garbage_are_read_as_python_reads_them() {
        let stream = encoded("bz2", &json!({}), b"chunk");
        let decode = |parts: &[&[u8]], len| decode_exactly("bz2", &json!({}), &parts.concat(), len);
        assert_eq!(decode(&[&stream, &stream], 10).unwrap(), b"chunkchunk");
        assert_eq!(decode(&[], 0).unwrap(), b"");
        for tail in [&b"garbage"[..], &[0], &[0; 7]] {
            assert_eq!(decode(&[&stream, tail], 5).unwrap(), b"chunk");
            assert_eq!(decode(&[&stream, tail, &stream], 5).unwrap(), b"chunk");
        }
        assert!(decode(&[&stream, b"BZh"], 5).is_err());
        assert!(decode(&[&stream, &stream[..stream.len() - 1]], 5).is_err());
        assert!(decode(&[b"garbage"], 0).is_err());
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = encoded("bz2", &json!({ "level": 9 }), &vec![0; 4 << 20]);
        let codec = bound("bz2", &json!({}), "|u1");
        let mut decoded = Vec::new();
        assert!(codec.decode_bounded(&bomb, &mut decoded, 1000, &mut Scratch::default()).is_err());
        assert!(decoded.capacity() <= 1000);
    }
}
