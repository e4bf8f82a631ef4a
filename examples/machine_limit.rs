//! What the machine can do: reads whole Zarr arrays with nothing but the bare work.
//!
//! `machine_limit FOLDER... [--rounds N] [--threads N]`
//!
//! Each folder holds a Zarr v3 array in local files, of numbers, in chunks that are stored as they are or
//! through zstd, gzip or blosc. Plain threads open, read and decode its chunks into memory and contexts that
//! they keep, and copy them row by row into an output whose memory is new in every round. That output is what
//! any reader has to deliver; so no pipeline can be much faster, and how much slower one is, is its overhead.
//! Prints JSON, see `benches/README.md`.
#![expect(clippy::unwrap_used, reason = "a measurement that fails stops")]
#![expect(clippy::print_stdout, reason = "its answer")]
#![expect(unsafe_code, reason = "C codecs, and memory that several threads write")]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Instant;

use libdeflate_sys as libdeflate;
use serde_json::{Value, json};
use zstd_safe::DCtx;

/// What turns stored bytes into elements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Codec {
    Plain,
    Zstd,
    Gzip,
    Blosc,
}

/// One chunk: its file and its place in the array.
struct Chunk {
    path: PathBuf,
    /// First element along every axis.
    start: Vec<usize>,
}

/// An array on disk.
struct Array {
    folder: PathBuf,
    codec_name: String,
    codec: Codec,
    item_bytes: usize,
    shape: Vec<usize>,
    chunk_shape: Vec<usize>,
    chunks: Vec<Chunk>,
}

impl Array {
    fn open(folder: &Path) -> Self {
        let metadata: Value = serde_json::from_slice(&fs::read(folder.join("zarr.json")).unwrap()).unwrap();
        let lens = |value: &Value| -> Vec<usize> { serde_json::from_value(value.clone()).unwrap() };
        let shape = lens(&metadata["shape"]);
        let chunk_shape = lens(&metadata["chunk_grid"]["configuration"]["chunk_shape"]);
        let bits = metadata["data_type"].as_str().unwrap().trim_start_matches(char::is_alphabetic);
        let codecs: Vec<&str> = metadata["codecs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|codec| codec["name"].as_str().unwrap())
            .collect();
        let codec = match codecs.as_slice() {
            ["bytes"] => Codec::Plain,
            ["bytes", "zstd"] => Codec::Zstd,
            ["bytes", "gzip"] => Codec::Gzip,
            ["bytes", "blosc"] => Codec::Blosc,
            other => panic!("{}: the codecs {other:?} are not among those measured", folder.display()),
        };
        let mut chunks = vec![Chunk { path: folder.join("c"), start: Vec::new() }];
        for (&len, &chunk_len) in shape.iter().zip(&chunk_shape) {
            chunks = chunks
                .iter()
                .flat_map(|outer| {
                    (0..len.div_ceil(chunk_len)).map(|index| Chunk {
                        path: outer.path.join(index.to_string()),
                        start: [outer.start.as_slice(), &[index * chunk_len]].concat(),
                    })
                })
                .collect();
        }
        Self {
            folder: folder.to_owned(),
            codec_name: (*codecs.last().unwrap()).to_owned(),
            codec,
            item_bytes: bits.parse::<usize>().unwrap() / 8,
            shape,
            chunk_shape,
            chunks,
        }
    }

    fn len_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.item_bytes
    }

    fn chunk_bytes(&self) -> usize {
        self.chunk_shape.iter().product::<usize>() * self.item_bytes
    }
}

/// What a thread keeps.
struct Worker {
    stored: Vec<u8>,
    decoded: Vec<u8>,
    zstd: DCtx<'static>,
    gzip: *mut libdeflate::libdeflate_decompressor,
}

impl Worker {
    fn new(len_bytes: usize) -> Self {
        // SAFETY: no duties; the answer is checked.
        let gzip = unsafe { libdeflate::libdeflate_alloc_decompressor() };
        assert!(!gzip.is_null());
        // Twice as long as any chunk: what does not compress grows a little.
        Self {
            stored: vec![0; 2 * len_bytes + 1024],
            decoded: vec![0; len_bytes],
            zstd: DCtx::create(),
            gzip,
        }
    }

    /// Reads a chunk into `self.decoded`.
    fn load(&mut self, chunk: &Chunk, codec: Codec, len_bytes: usize) {
        let mut file = File::open(&chunk.path).unwrap();
        let stored_bytes = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let decoded = &mut self.decoded[..len_bytes];
        if codec == Codec::Plain {
            return file.read_exact(decoded).unwrap();
        }
        let stored = &mut self.stored[..stored_bytes];
        file.read_exact(stored).unwrap();
        let written_bytes = match codec {
            Codec::Plain => len_bytes,
            Codec::Zstd => self.zstd.decompress(decoded, stored).unwrap(),
            Codec::Gzip => {
                let mut written_bytes = 0;
                // SAFETY: the decompressor is ours, both lengths are those of the slices.
                let result = unsafe {
                    libdeflate::libdeflate_gzip_decompress(
                        self.gzip,
                        stored.as_ptr().cast(),
                        stored.len(),
                        decoded.as_mut_ptr().cast(),
                        decoded.len(),
                        &raw mut written_bytes,
                    )
                };
                assert_eq!(result, libdeflate::libdeflate_result_LIBDEFLATE_SUCCESS);
                written_bytes
            }
            Codec::Blosc => {
                let (source, target) = (stored.as_ptr().cast(), decoded.as_mut_ptr().cast());
                // SAFETY: a frame that zarr wrote, and memory of the length passed along.
                let result = unsafe { blosc_src::blosc_decompress_ctx(source, target, len_bytes, 1) };
                usize::try_from(result).unwrap()
            }
        };
        assert_eq!(written_bytes, len_bytes);
    }

    /// Reads a chunk and copies its rows to the output.
    fn run(&mut self, array: &Array, chunk: &Chunk, out: *mut u8) {
        self.load(chunk, array.codec, array.chunk_bytes());
        let Some((&row_len, outer_lens)) = array.chunk_shape.split_last() else { return };
        let ndim = array.shape.len();
        let row_bytes = row_len.min(array.shape[ndim - 1] - chunk.start[ndim - 1]) * array.item_bytes;
        // The buffer fits the largest chunk of all arrays.
        let decoded = &self.decoded[..array.chunk_bytes()];
        for (number, row) in decoded.chunks_exact(row_len * array.item_bytes).enumerate() {
            let (mut rest, mut offset, mut stride) = (number, chunk.start[ndim - 1], array.shape[ndim - 1]);
            let mut is_inside = true;
            for axis in (0..ndim - 1).rev() {
                let index = chunk.start[axis] + rest % outer_lens[axis];
                rest /= outer_lens[axis];
                is_inside &= index < array.shape[axis];
                offset += index * stride;
                stride *= array.shape[axis];
            }
            if is_inside {
                // SAFETY: every index is below the array's length along its axis, so the row lies inside.
                let target = unsafe { out.add(offset * array.item_bytes) };
                // SAFETY: as above; rows of different chunks are different, so nobody else writes there.
                unsafe { target.copy_from_nonoverlapping(row.as_ptr(), row_bytes) };
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed once.
        unsafe { libdeflate::libdeflate_free_decompressor(self.gzip) };
    }
}

/// Memory that the process never touched, advised to huge pages as numpy does with large arrays.
#[cfg(target_os = "linux")]
struct Fresh {
    data: *mut u8,
    len_bytes: usize,
}

#[cfg(target_os = "linux")]
impl Fresh {
    /// numpy asks for huge pages from this length on.
    const ADVISED_FROM_BYTES: usize = 4 << 20;

    fn new(len_bytes: usize) -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the system likes.
        let data = unsafe { libc::mmap(std::ptr::null_mut(), len_bytes, protection, flags, -1, 0) };
        assert_ne!(data, libc::MAP_FAILED);
        if len_bytes >= Self::ADVISED_FROM_BYTES {
            // SAFETY: the mapping is ours; the advice changes no contents. It may be refused.
            unsafe { libc::madvise(data, len_bytes, libc::MADV_HUGEPAGE) };
        }
        Self { data: data.cast(), len_bytes }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has this length, and all of it is initialised, by the system or by us.
        unsafe { std::slice::from_raw_parts(self.data, self.len_bytes) }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Fresh {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody has a pointer to it any more.
        unsafe { libc::munmap(self.data.cast(), self.len_bytes) };
    }
}

/// Elsewhere the allocator's, which for large lengths is the same thing.
#[cfg(not(target_os = "linux"))]
struct Fresh {
    data: *mut u8,
    memory: Vec<u8>,
}

#[cfg(not(target_os = "linux"))]
impl Fresh {
    fn new(len_bytes: usize) -> Self {
        let mut memory = vec![0; len_bytes];
        Self { data: memory.as_mut_ptr(), memory }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory
    }
}

/// What the threads work on.
#[derive(Default)]
struct Job {
    array: AtomicUsize,
    next_chunk: AtomicUsize,
    out: AtomicPtr<u8>,
}

/// Times of every array in milliseconds, and the checksum of its contents.
#[derive(Clone, Default)]
struct Answer {
    times_ms: Vec<f64>,
    crc32: u32,
}

/// Reads every array once per round, in turns.
fn measure(arrays: &[Array], rounds: usize, threads: usize) -> Vec<Answer> {
    let job = Job::default();
    let barrier = Barrier::new(threads + 1);
    let largest = arrays.iter().map(Array::chunk_bytes).max().unwrap_or(0);
    let answers = Mutex::new(vec![Answer::default(); arrays.len()]);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut worker = Worker::new(largest);
                for _ in 0..rounds * arrays.len() {
                    barrier.wait();
                    let array = &arrays[job.array.load(Ordering::Relaxed)];
                    let out = job.out.load(Ordering::Relaxed);
                    while let Some(chunk) = array.chunks.get(job.next_chunk.fetch_add(1, Ordering::Relaxed)) {
                        worker.run(array, chunk, out);
                    }
                    barrier.wait();
                }
            });
        }
        for _ in 0..rounds {
            for (index, array) in arrays.iter().enumerate() {
                job.array.store(index, Ordering::Relaxed);
                job.next_chunk.store(0, Ordering::Relaxed);
                let start = Instant::now();
                let out = Fresh::new(array.len_bytes());
                job.out.store(out.data, Ordering::Relaxed);
                barrier.wait();
                barrier.wait();
                let time_ms = start.elapsed().as_secs_f64() * 1000.0;
                let mut answers = answers.lock().unwrap();
                answers[index].times_ms.push(time_ms);
                answers[index].crc32 = crc32fast::hash(out.bytes());
            }
        }
    });
    answers.into_inner().unwrap()
}

fn main() {
    let (mut folders, mut rounds, mut threads) = (Vec::new(), 9, 2);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => rounds = arguments.next().unwrap().parse().unwrap(),
            "--threads" => threads = arguments.next().unwrap().parse().unwrap(),
            folder => folders.push(PathBuf::from(folder)),
        }
    }
    assert!(
        !folders.is_empty() && rounds > 0 && threads > 0,
        "machine_limit FOLDER... [--rounds N] [--threads N]"
    );
    let arrays: Vec<Array> = folders.iter().map(|folder| Array::open(folder)).collect();
    let answers = measure(&arrays, rounds, threads);
    let described: Vec<Value> = arrays
        .iter()
        .zip(answers)
        .map(|(array, answer)| {
            let mut sorted = answer.times_ms.clone();
            sorted.sort_by(f64::total_cmp);
            json!({
                "folder": array.folder,
                "codec": array.codec_name,
                "chunks": array.chunks.len(),
                "bytes": array.len_bytes(),
                "crc32": answer.crc32,
                "best_ms": sorted[0],
                "median_ms": sorted[sorted.len() / 2],
                "times_ms": answer.times_ms,
            })
        })
        .collect();
    println!("{}", json!({"threads": threads, "rounds": rounds, "arrays": described}));
}
