//! Copies whose destination lies so many bytes past their source, modulo 4096: the C library's, ours, and reads of a
//! file that is in the page cache (its pages begin at multiples of 4096).
#![expect(clippy::unwrap_used, reason = "a benchmark that fails stops")]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use divan::Bencher;
use divan::counter::BytesCount;
use wazarr::distance;

const LEN_BYTES: usize = 256 << 10;
const DISTANCES: [usize; 4] = [0, 16, 32, 64];

fn main() {
    divan::main();
}

/// Memory of which `[start..]` begins at a multiple of 4096.
fn page_aligned() -> (Vec<u8>, usize) {
    let memory = vec![7; LEN_BYTES + 2 * 4096];
    let start = memory.as_ptr().addr().wrapping_neg() % 4096;
    (memory, start)
}

fn copies(bencher: Bencher<'_, '_>, distance: usize, copy: fn(&mut [u8], &[u8])) {
    let ((source, from), (mut target, to)) = (page_aligned(), page_aligned());
    let source = &source[from..from + LEN_BYTES];
    let target = &mut target[to + distance..to + distance + LEN_BYTES];
    bencher.counter(BytesCount::new(LEN_BYTES)).bench_local(|| {
        copy(target, black_box(source));
        black_box(&*target);
    });
    assert_eq!(target, source);
}

#[divan::bench(args = DISTANCES)]
fn memcpy(bencher: Bencher<'_, '_>, distance: usize) {
    copies(bencher, distance, <[u8]>::copy_from_slice);
}

#[divan::bench(args = DISTANCES)]
fn ours(bencher: Bencher<'_, '_>, distance: usize) {
    copies(bencher, distance, distance::copy);
}

#[divan::bench(args = DISTANCES)]
fn read_of_a_cached_file(bencher: Bencher<'_, '_>, distance: usize) {
    let path = std::env::temp_dir().join(format!("wazarr-copies-{}", std::process::id()));
    std::fs::write(&path, vec![7; LEN_BYTES]).unwrap();
    let file = File::open(&path).unwrap();
    let (mut target, to) = page_aligned();
    let target = &mut target[to + distance..to + distance + LEN_BYTES];
    bencher
        .counter(BytesCount::new(LEN_BYTES))
        .bench_local(|| file.read_exact_at(black_box(&mut *target), 0).unwrap());
    assert!(target.iter().all(|&byte| byte == 7));
    std::fs::remove_file(path).unwrap();
}
