//! Raw DEFLATE streams, for the two formats that wrap them ([`super::gzip`], [`super::zlib`]).
//!
//! Decoding is libdeflate's: the whole input and output are there, which is what it is fast at. It says
//! how much of the input it used, so that gzip can go on with the next member.
//!
//! Encoding picks the engine by level. The size is to stay within 1.06 times of what zlib writes at the
//! same level; under that condition the fastest is taken. Measured on chunks of 1 MB (noisy and smooth
//! `u16`, masks, labels, ramps, `f4`), milliseconds a chunk, and size over zlib's size:
//!
//! | level | engine | rough u16 | smooth u16 | few values |
//! |---|---|---|---|---|
//! | 1 | `miniz_oxide` 1 | 4.2, 1.00 | 8.6, *1.35* | 5.1, *1.31* |
//! | 1 | libdeflate 1 | 8.9, 1.00 | 5.5, 0.98 | 3.1, 0.90 |
//! | 1 | libdeflate 2 | 11.0, 1.00 | 8.7, 0.93 | 5.2, 0.88 |
//! | 5 | libdeflate 5 | 9.8, 1.00 | 12.3, 0.99 | 11.4, 1.03 |
//! | 6 | libdeflate 6 | 9.7, 1.00 | 12.3, 0.99 | 19.0, 1.05 |
//! | 9 | libdeflate 8 | 9.9, 1.00 | 15.4, 1.00 | 102, 1.03 |
//!
//! No engine serves level 1 alone: `miniz_oxide` is twice as fast on noise and a third larger on smooth
//! data, libdeflate's level 1 is nearly twice zlib's size on a ramp of integers, and its level 2 is slow.
//! There the engine is chosen per chunk, by encoding a small sample: with `miniz_oxide`, and where that does not
//! settle it (the sample hardly shrinks: noise) with the other two.
//!
//! At every level, data in which a search for repeats finds none and whose sample takes no more than the level's own
//! engine makes of it (and [`tolerance_percent`]) is coded without matches, several times faster
//! ([`super::literals`]).
#![expect(unsafe_code, reason = "wraps libdeflate, whose safe crate does not say how much input was used")]

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use libdeflate_sys as ffi;
use miniz_oxide::deflate::core as miniz;
use serde_json::Value;

use super::configuration::integer_within;
use super::literals;
use super::output::{Output, append, damaged};
use crate::codec::registry::BindError;
use crate::codec::scratch::reserve;
use crate::codec::{CodecFault, Scratch};

/// Highest libdeflate level that is used here.
const HIGHEST_ENGINE_LEVEL: usize = 8;
/// How much of a chunk is encoded at most to choose the engine of level 1, and at least.
const SAMPLE_BYTES: usize = 16 << 10;
const SMALLEST_SAMPLE_BYTES: usize = 2 << 10;
/// Share of a chunk that the sample takes, between these.
const SAMPLE_DIVISOR: usize = 16;
/// From this length on a first sample is taken.
const SAMPLED_FROM_BYTES: usize = 8 << 10;
/// From this length on samples with all engines cost little (about 4 % at 1 MiB, 16 % here) beside what they
/// save.
const SAMPLED_WITH_ALL_FROM_BYTES: usize = 256 << 10;
/// Most that an engine's sample may exceed the smallest, in percent.
const SAMPLE_TOLERANCE_PERCENT: usize = 103;
/// So many places of a chunk may look like repeats by chance.
const CHANCE_REPEATS: usize = 1;
/// What one block of stored bytes holds, and what it takes besides.
const STORED_BLOCK_BYTES: usize = 65_535;
const STORED_BLOCK_OVERHEAD_BYTES: usize = 5;

/// The `level` setting of both formats: -1 stands for 6, as in zlib.
pub(super) fn level(configuration: &Value) -> Result<u8, BindError> {
    let level = integer_within(configuration, "level", -1..=9, 1)?;
    Ok(u8::try_from(level).unwrap_or(6))
}

/// Length of the longest raw stream that [`compress`] writes.
pub(super) fn bound(decoded_len_bytes: usize) -> usize {
    // All engines fall back to stored blocks, the smallest of which (libdeflate's) hold 5000 bytes.
    let overhead = (decoded_len_bytes / 5000 + 1).saturating_mul(STORED_BLOCK_OVERHEAD_BYTES);
    decoded_len_bytes.saturating_add(overhead).saturating_add(64)
}

/// How decoding one stream ended.
pub(super) enum Inflated {
    /// It ended; so many bytes of the input belong to it.
    Whole {
        /// Length of the stream in the input.
        used_bytes: usize,
    },
    /// Damaged, or cut short.
    Damaged,
}

/// Decodes the raw stream at the start of `encoded` and appends its contents to `output`.
pub(super) fn decompress(
    encoded: &[u8],
    output: &mut Output<'_>,
    scratch: &mut Scratch,
) -> Result<Inflated, CodecFault> {
    let decompressor = scratch.context::<Decompressor>().get()?;
    loop {
        let room = output.spare();
        let (mut used_bytes, mut written_bytes) = (0, 0);
        // SAFETY: the pointers and lengths are those of live slices, the decompressor is a live one of
        // this thread, and libdeflate stays within the lengths whatever the input holds.
        let status = unsafe {
            ffi::libdeflate_deflate_decompress_ex(
                decompressor.as_ptr(),
                encoded.as_ptr().cast(),
                encoded.len(),
                room.as_mut_ptr().cast(),
                room.len(),
                &raw mut used_bytes,
                &raw mut written_bytes,
            )
        };
        match status {
            ffi::libdeflate_result_LIBDEFLATE_SUCCESS => {
                // SAFETY: on success libdeflate has written as much as it says.
                unsafe { output.advance(written_bytes) };
                return Ok(Inflated::Whole { used_bytes });
            }
            // With more room it is decoded again from the start: room doubles, so the repeated work
            // stays below the work itself.
            ffi::libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE => output.grow()?,
            _ => return Ok(Inflated::Damaged),
        }
    }
}

/// Decodes a raw stream that holds exactly as much as `decoded`.
///
/// # Errors
/// A damaged stream, or one of another length.
pub fn inflate_raw(encoded: &[u8], decoded: &mut [u8], scratch: &mut Scratch) -> Result<(), CodecFault> {
    let len_bytes = decoded.len();
    let mut output = Output::exact(decoded);
    match decompress(encoded, &mut output, scratch)? {
        Inflated::Whole { .. } if output.len() == len_bytes => Ok(()),
        Inflated::Whole { .. } => {
            Err(damaged(&format!("the stream holds {} bytes, not {len_bytes}", output.len())))
        }
        Inflated::Damaged => Err(damaged("the deflate stream is damaged")),
    }
}

/// Appends `decoded` as one raw stream.
pub(super) fn compress(
    level: u8,
    decoded: &[u8],
    encoded: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<(), CodecFault> {
    let usual = match level {
        0 => return store(decoded, encoded),
        // For level 1 the densest of those that may be chosen.
        1..=3 => DENSEST_FAST,
        4..=7 => Engine::Libdeflate(level),
        8 => Engine::Libdeflate(7),
        _ => Engine::Libdeflate(8),
    };
    let engine = if literals_suffice(level, usual, decoded, scratch)? {
        Engine::Literals
    } else if level == 1 {
        sampled_engine(decoded, scratch)?
    } else {
        usual
    };
    compress_with(engine, decoded, encoded, scratch)
}

#[derive(Clone, Copy)]
enum Engine {
    Literals,
    MinizFastest,
    Libdeflate(u8),
}

const DENSEST_FAST: Engine = Engine::Libdeflate(2);

/// Most that coding without matches may exceed what the level's own engine makes of the sample, in percent: whoever
/// asks for level 1 wants speed.
fn tolerance_percent(level: u8) -> usize {
    if level <= 3 { 103 } else { 101 }
}

/// A part of the middle: a chunk's ends are more often fill values or borders.
fn sample_of(decoded: &[u8]) -> &[u8] {
    let sample_bytes = (decoded.len() / SAMPLE_DIVISOR).clamp(SMALLEST_SAMPLE_BYTES, SAMPLE_BYTES);
    let start = (decoded.len() - sample_bytes) / 2;
    &decoded[start..start + sample_bytes]
}

/// Whether coding without matches takes hardly more than what `usual` would make of it.
fn literals_suffice(
    level: u8,
    usual: Engine,
    decoded: &[u8],
    scratch: &mut Scratch,
) -> Result<bool, CodecFault> {
    if decoded.len() < SAMPLED_FROM_BYTES || literals::repeats(decoded) > CHANCE_REPEATS {
        return Ok(false);
    }
    let sample = sample_of(decoded);
    let mut encoded = scratch.take_vec();
    compress_with(usual, sample, &mut encoded, scratch)?;
    let allowed = encoded.len() * tolerance_percent(level) / 100;
    scratch.put_vec(encoded);
    Ok(literals::encoded_len(sample) <= allowed)
}

/// The engine of level 1, where matches pay.
fn sampled_engine(decoded: &[u8], scratch: &mut Scratch) -> Result<Engine, CodecFault> {
    const DENSEST: Engine = DENSEST_FAST;
    if decoded.len() < SAMPLED_FROM_BYTES {
        return Ok(DENSEST);
    }
    let sample = sample_of(decoded);
    let sample_bytes = sample.len();
    let mut encoded = scratch.take_vec();
    let mut sizes = [0; 3];
    let engines = [Engine::MinizFastest, Engine::Libdeflate(1), DENSEST];
    for (size, engine) in sizes.iter_mut().zip(engines) {
        encoded.clear();
        compress_with(engine, sample, &mut encoded, scratch)?;
        *size = encoded.len();
        if matches!(engine, Engine::MinizFastest) {
            // What hardly shrinks at all does not shrink more elsewhere.
            let is_settled = encoded.len() * 8 > sample_bytes * 7;
            if is_settled || decoded.len() < SAMPLED_WITH_ALL_FROM_BYTES {
                scratch.put_vec(encoded);
                return Ok(if is_settled { engine } else { DENSEST });
            }
        }
    }
    scratch.put_vec(encoded);
    let allowed = sizes[2] * SAMPLE_TOLERANCE_PERCENT / 100;
    // Where noise keeps matches away miniz_oxide is the fastest; where data repeats, libdeflate is, even
    // if the sizes are alike.
    let is_noise = sizes[0] > sample_bytes / 2;
    Ok(match sizes {
        [miniz, ..] if is_noise && miniz <= allowed => engines[0],
        [_, libdeflate, _] if libdeflate <= allowed => engines[1],
        _ => DENSEST,
    })
}

fn compress_with(
    engine: Engine,
    decoded: &[u8],
    encoded: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<(), CodecFault> {
    match engine {
        Engine::Literals => literals::compress(decoded, encoded, bound(decoded.len())),
        Engine::MinizFastest => compress_with_miniz(decoded, encoded, scratch),
        Engine::Libdeflate(level) => compress_with_libdeflate(level, decoded, encoded, scratch),
    }
}

fn compress_with_libdeflate(
    level: u8,
    decoded: &[u8],
    encoded: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<(), CodecFault> {
    let compressor = scratch.context::<Compressors>().get(level)?;
    let write = |room: &mut [MaybeUninit<u8>]| {
        // SAFETY: the pointers and lengths are those of live slices, the compressor is a live one of
        // this thread, and libdeflate stays within the lengths.
        let written_bytes = unsafe {
            ffi::libdeflate_deflate_compress(
                compressor.as_ptr(),
                decoded.as_ptr().cast(),
                decoded.len(),
                room.as_mut_ptr().cast(),
                room.len(),
            )
        };
        // Zero says that the room was too small.
        if written_bytes == 0 { Err(refused("libdeflate")) } else { Ok(written_bytes) }
    };
    // SAFETY: libdeflate has written as much as it says, from the start of the room.
    unsafe { append(encoded, bound(decoded.len()), write) }
}

fn compress_with_miniz(
    decoded: &[u8],
    encoded: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<(), CodecFault> {
    // miniz_oxide is Rust and wants initialised memory: kept scratch has it for nothing.
    let mut buffer = scratch.take(bound(decoded.len()))?;
    let compressor = scratch.context::<Miniz>().0.get_or_insert_with(|| {
        // Zlib level 1, no zlib header, default strategy.
        Box::new(miniz::CompressorOxide::new(miniz::create_comp_flags_from_zip_params(1, 0, 0)))
    });
    compressor.reset();
    let (status, _, written_bytes) =
        miniz::compress(compressor, decoded, &mut buffer, miniz::TDEFLFlush::Finish);
    let result = if status == miniz::TDEFLStatus::Done {
        encoded.extend_from_slice(&buffer[..written_bytes]);
        Ok(())
    } else {
        Err(refused("miniz_oxide"))
    };
    scratch.put(buffer);
    result
}

/// Appends `decoded` as stored blocks.
fn store(decoded: &[u8], encoded: &mut Vec<u8>) -> Result<(), CodecFault> {
    reserve(encoded, bound(decoded.len()))?;
    let mut rest = decoded;
    loop {
        let (block, after) = rest.split_at(rest.len().min(STORED_BLOCK_BYTES));
        encoded.push(u8::from(after.is_empty()));
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        encoded.extend_from_slice(&len.to_le_bytes());
        encoded.extend_from_slice(&(!len).to_le_bytes());
        encoded.extend_from_slice(block);
        if after.is_empty() {
            return Ok(());
        }
        rest = after;
    }
}

fn refused(library: &'static str) -> CodecFault {
    CodecFault::Library { library, reason: "it did not finish the stream".to_owned() }
}

fn no_memory() -> CodecFault {
    CodecFault::Library { library: "libdeflate", reason: "no memory for a context".to_owned() }
}

/// The fault for a stream that [`decompress`] called damaged.
pub(super) fn damaged_stream() -> CodecFault {
    damaged("its deflate stream is invalid or cut short")
}

#[derive(Default)]
struct Miniz(Option<Box<miniz::CompressorOxide>>);

#[derive(Default)]
struct Decompressor(Option<NonNull<ffi::libdeflate_decompressor>>);

// SAFETY: libdeflate's decompressor has no tie to the thread that made it.
unsafe impl Send for Decompressor {}

impl Decompressor {
    fn get(&mut self) -> Result<NonNull<ffi::libdeflate_decompressor>, CodecFault> {
        if self.0.is_none() {
            // SAFETY: it takes nothing and answers null or a decompressor that is ours.
            self.0 = NonNull::new(unsafe { ffi::libdeflate_alloc_decompressor() });
        }
        self.0.ok_or_else(no_memory)
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        if let Some(decompressor) = self.0 {
            // SAFETY: made by `get`, and nobody can use it after this.
            unsafe { ffi::libdeflate_free_decompressor(decompressor.as_ptr()) };
        }
    }
}

/// One compressor for each level that was asked for.
#[derive(Default)]
struct Compressors([Option<NonNull<ffi::libdeflate_compressor>>; HIGHEST_ENGINE_LEVEL + 1]);

// SAFETY: libdeflate's compressors have no tie to the thread that made them.
unsafe impl Send for Compressors {}

impl Compressors {
    fn get(&mut self, level: u8) -> Result<NonNull<ffi::libdeflate_compressor>, CodecFault> {
        let slot = self.0.get_mut(usize::from(level)).ok_or_else(no_memory)?;
        if slot.is_none() {
            // SAFETY: it takes a number and answers null or a compressor that is ours.
            *slot = NonNull::new(unsafe { ffi::libdeflate_alloc_compressor(i32::from(level)) });
        }
        slot.ok_or_else(no_memory)
    }
}

impl Drop for Compressors {
    fn drop(&mut self) {
        for compressor in self.0.iter().flatten() {
            // SAFETY: made by `get`, and nobody can use it after this.
            unsafe { ffi::libdeflate_free_compressor(compressor.as_ptr()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A multiplicative generator: the tests need noise, not randomness.
    fn noise(len_bytes: usize, mask: u8) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u8::try_from(state >> 56).unwrap() & mask
        };
        (0..len_bytes).map(|_| next()).collect()
    }

    #[test]
    fn the_sample_chooses_the_engine_of_level_1() {
        let mut scratch = Scratch::default();
        let rough = noise(1 << 20, 0xff);
        assert!(matches!(sampled_engine(&rough, &mut scratch).unwrap(), Engine::MinizFastest));
        let few_values = noise(1 << 20, 3);
        assert!(matches!(sampled_engine(&few_values, &mut scratch).unwrap(), Engine::Libdeflate(_)));
        assert!(literals_suffice(1, DENSEST_FAST, &rough, &mut scratch).unwrap());
        let ramp: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
        assert!(matches!(sampled_engine(&ramp, &mut scratch).unwrap(), Engine::Libdeflate(2)));
        assert!(!literals_suffice(1, DENSEST_FAST, &ramp, &mut scratch).unwrap());
        // Noise that comes again where no sample sees it.
        let planes = noise(20_000, 0xff).repeat(40);
        assert!(!literals_suffice(1, DENSEST_FAST, &planes, &mut scratch).unwrap());
    }

    #[test]
    fn every_engine_keeps_to_the_bound_and_decodes() {
        let mut scratch = Scratch::default();
        for data in [noise(300_001, 0xff), noise(300_001, 1), vec![5; 200_000], noise(4999, 0xff), vec![]] {
            for level in 0..=9 {
                let mut encoded = Vec::new();
                compress(level, &data, &mut encoded, &mut scratch).unwrap();
                assert!(encoded.len() <= bound(data.len()));
                let mut decoded = vec![0; data.len()];
                let mut output = Output::exact(&mut decoded);
                let inflated = decompress(&encoded, &mut output, &mut scratch).unwrap();
                assert!(matches!(inflated, Inflated::Whole { used_bytes } if used_bytes == encoded.len()));
                output.finish().unwrap();
                assert_eq!(decoded, data);
            }
        }
    }
}
