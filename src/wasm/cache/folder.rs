//! The folder that keeps modules and their compiled code from one process to the next.
//!
//! ```text
//!  <64 hex digits>.wasm                          the module, verified again whenever it is read
//!  <64 hex digits>-<version>.json                its survey, so that what is compiled need not be read
//!  <64 hex digits>-<engine>-<m|t>[-core].cwasm   compiled code, metered or trusted
//! ```
//!
//! Whoever can write compiled code can run anything. So the folder, and every file that is read, has to
//! belong to this user, and nobody else may have any right to the folder. Files are written under another name
//! and moved into place, never changed. A survey begins with a checksum and code ends with one, which finds damage
//! (against forgery there is only who may write here). Code on a disk of this machine is mapped, not read: a file there
//! may be removed or replaced at any time, but no program may write into it.

#![cfg_attr(unix, expect(unsafe_code, reason = "geteuid has no safe wrapper in std"))]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use wasmtime::Engine;

use crate::store::filesystem::is_local;
use crate::wasm::{Digest, Survey, WasmError, survey};

/// Tells the temporary files of one process apart.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);
/// Bytes that a folder may hold.
static LIMIT_BYTES: AtomicU64 = AtomicU64::new(1 << 30);

const TEMPORARY_PREFIX: &str = ".wazarr-";
/// A temporary file of this age was left behind.
const STALE: Duration = Duration::from_hours(1);
/// The time of last use is kept to this precision.
const USE_PRECISION: Duration = Duration::from_hours(1);
/// Before a checksum of four bytes.
const MAGIC: &[u8; 12] = b"wazarr-wasm1";
const SEAL_BYTES: usize = MAGIC.len() + 4;

/// Sets how many bytes a folder may hold.
pub fn set_limit(len_bytes: u64) {
    LIMIT_BYTES.store(len_bytes, Ordering::Relaxed);
}

/// A folder that is safe to use.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

/// Compiled code whose checksum is right, and the checksum behind it, which is no part of it but does no harm.
#[derive(Debug)]
pub struct StoredCode {
    file: File,
}

impl StoredCode {
    /// The file, if it is on a disk of this machine, so that it can be mapped.
    #[must_use]
    pub fn mappable(&self) -> Option<&File> {
        is_local(&self.file).then_some(&self.file)
    }

    /// What it holds.
    ///
    /// # Errors
    /// It cannot be read, or is damaged by now.
    pub fn read(mut self) -> io::Result<Vec<u8>> {
        self.file.rewind()?;
        let bytes = read_all(&mut self.file)?;
        let sound = bytes.split_last_chunk::<SEAL_BYTES>().is_some_and(|(code, found)| *found == seal(code));
        if sound { Ok(bytes) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

impl Folder {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// It is not safe to use, or cannot be made.
    pub fn open(path: &Path) -> Result<Self, WasmError> {
        let fail = |problem: String| WasmError::CacheFolder { path: path.display().to_string(), problem };
        if let Err(error) = make(path) {
            return Err(fail(format!("it cannot be made: {error}")));
        }
        let metadata = fs::symlink_metadata(path).map_err(|error| fail(error.to_string()))?;
        if !metadata.is_dir() {
            return Err(fail("it is no folder".to_owned()));
        }
        match check_owner(&metadata, true) {
            Some(problem) => Err(fail(problem)),
            None => Ok(Self { path: path.to_owned() }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a module. That it cannot be kept is no failure: it will be compiled again.
    pub fn store_bytes(&self, digest: Digest, bytes: &[u8], survey: &Survey) {
        let kept = fs::symlink_metadata(self.bytes_path(digest))
            .is_ok_and(|file| file.len() == bytes.len() as u64)
            && fs::symlink_metadata(self.survey_path(digest)).is_ok();
        if kept {
            return;
        }
        let survey = survey.to_json().to_string();
        let written = self.write(&self.bytes_path(digest), &[bytes]).and_then(|()| {
            self.write(&self.survey_path(digest), &[&seal(survey.as_bytes()), survey.as_bytes()])
        });
        if written.is_ok() {
            self.shrink(LIMIT_BYTES.load(Ordering::Relaxed));
        }
    }

    /// A module's bytes, if they are here and what the digest says.
    #[must_use]
    pub fn load_bytes(&self, digest: Digest) -> Option<Vec<u8>> {
        let bytes = read(&self.bytes_path(digest)).ok()?;
        if Digest::of(&bytes) == digest {
            return Some(bytes);
        }
        remove(&self.bytes_path(digest));
        None
    }

    /// A module's survey, and its bytes where they had to be read for it.
    #[must_use]
    pub fn load_survey(&self, digest: Digest) -> Option<(Survey, Option<Vec<u8>>)> {
        if !fs::symlink_metadata(self.bytes_path(digest)).is_ok_and(|file| file.is_file()) {
            return None;
        }
        if let Some(survey) = load_sealed_survey(&self.survey_path(digest)) {
            return Some((survey, None));
        }
        let bytes = self.load_bytes(digest)?;
        let survey = Survey::of(&bytes, usize::MAX).ok()?;
        let json = survey.to_json().to_string();
        // As in `store_bytes`.
        drop(self.write(&self.survey_path(digest), &[&seal(json.as_bytes()), json.as_bytes()]));
        Some((survey, Some(bytes)))
    }

    /// Keeps compiled code.
    pub fn store_code(&self, name: &str, code: &[u8]) {
        if self.write(&self.path.join(name), &[code, &seal(code)]).is_ok() {
            self.shrink(LIMIT_BYTES.load(Ordering::Relaxed));
        }
    }

    /// Compiled code, if it is here and not damaged.
    #[must_use]
    pub fn load_code(&self, name: &str) -> Option<StoredCode> {
        let path = self.path.join(name);
        let (mut file, metadata) = open(&path).ok()?;
        if is_sealed(&mut file, metadata.len()).ok()? {
            note_use(&file, &metadata);
            return Some(StoredCode { file });
        }
        remove(&path);
        None
    }

    fn bytes_path(&self, digest: Digest) -> PathBuf {
        self.path.join(format!("{}.wasm", digest.hex()))
    }

    fn survey_path(&self, digest: Digest) -> PathBuf {
        self.path.join(format!("{}-{}.json", digest.hex(), survey::VERSION))
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let number = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let temporary = self.path.join(format!("{TEMPORARY_PREFIX}{}-{number}", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let write = || {
            let mut file = options.open(&temporary)?;
            for part in parts {
                file.write_all(part)?;
            }
            drop(file);
            fs::rename(&temporary, path)
        };
        let written = write();
        if written.is_err() {
            remove(&temporary);
        }
        written
    }

    /// Removes the files that were not used for longest until no more than `limit_bytes` are left.
    pub(super) fn shrink(&self, limit_bytes: u64) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        let now = SystemTime::now();
        let mut sum = 0;
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let age = now.duration_since(used).unwrap_or_default();
            let is_temporary = entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX);
            match (metadata.is_file(), is_temporary) {
                (true, true) if age > STALE => remove(&entry.path()),
                (true, false) if is_ours(&entry.path()) => {
                    sum += metadata.len();
                    files.push((used, metadata.len(), entry.path()));
                }
                _ => {}
            }
        }
        files.sort();
        for (_, len_bytes, path) in files {
            if sum <= limit_bytes {
                return;
            }
            sum -= len_bytes;
            remove(&path);
        }
    }
}

/// Whether a file has a name that we give.
fn is_ours(path: &Path) -> bool {
    matches!(path.extension().and_then(|extension| extension.to_str()), Some("wasm" | "cwasm" | "json"))
}

/// The name of compiled code.
pub(super) fn code_name(digest: Digest, engine: &Engine, is_metered: bool, is_embedded_core: bool) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let meter = if is_metered { "m" } else { "t" };
    let part = if is_embedded_core { "-core" } else { "" };
    format!("{}-{:016x}-{meter}{part}.cwasm", digest.hex(), hasher.finish())
}

fn seal(body: &[u8]) -> [u8; SEAL_BYTES] {
    seal_of(crc32c::crc32c(body))
}

fn seal_of(checksum: u32) -> [u8; SEAL_BYTES] {
    let mut seal = [0; SEAL_BYTES];
    seal[..MAGIC.len()].copy_from_slice(MAGIC);
    seal[MAGIC.len()..].copy_from_slice(&checksum.to_le_bytes());
    seal
}

/// Whether a file of so many bytes ends with the seal of what comes before.
fn is_sealed(file: &mut File, len_bytes: u64) -> io::Result<bool> {
    let Some(mut left) = len_bytes.checked_sub(SEAL_BYTES as u64) else { return Ok(false) };
    let mut checksum = 0;
    let mut part = [0; 16 << 10];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(part.len());
        file.read_exact(&mut part[..wanted])?;
        checksum = crc32c::crc32c_append(checksum, &part[..wanted]);
        left -= wanted as u64;
    }
    let mut found = [0; SEAL_BYTES];
    file.read_exact(&mut found)?;
    Ok(found == seal_of(checksum))
}

/// A survey, if its seal is right; a damaged one is removed.
fn load_sealed_survey(path: &Path) -> Option<Survey> {
    let bytes = read(path).ok()?;
    let body = bytes.split_first_chunk::<SEAL_BYTES>().filter(|(found, body)| **found == seal(body));
    let Some((_, body)) = body else {
        remove(path);
        return None;
    };
    serde_json::from_slice(body).ok().and_then(|json| Survey::from_json(&json))
}

fn make(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Opens a file that belongs to this user.
fn open(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || check_owner(&metadata, false).is_some() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok((file, metadata))
}

/// Reads such a file.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, metadata) = open(path)?;
    let bytes = read_all(&mut file)?;
    note_use(&file, &metadata);
    Ok(bytes)
}

fn read_all(file: &mut File) -> io::Result<Vec<u8>> {
    let len_bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len_bytes.saturating_add(1))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Files are removed in the order of their last use.
fn note_use(file: &File, metadata: &fs::Metadata) {
    let now = SystemTime::now();
    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    if now.duration_since(used).is_ok_and(|age| age > USE_PRECISION) {
        // A folder that cannot be written to can still be read from.
        drop(file.set_modified(now));
    }
}

/// What is wrong with who may write to a file, or do anything with a folder.
#[cfg(unix)]
fn check_owner(metadata: &fs::Metadata, is_folder: bool) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    // SAFETY: takes nothing and always succeeds.
    let user = unsafe { libc::geteuid() };
    if metadata.uid() != user {
        return Some(format!("it belongs to user {}, not to {user}", metadata.uid()));
    }
    let forbidden = if is_folder { 0o077 } else { 0o022 };
    let mode = metadata.mode() & 0o777;
    (mode & forbidden != 0)
        .then(|| format!("others have rights to it (its mode is {mode:03o}); it has to be 700"))
}

#[cfg(not(unix))]
fn check_owner(_: &fs::Metadata, _: bool) -> Option<String> {
    // Here a user's folders are out of the reach of others unless somebody opened them.
    None
}

/// Removes a file, which another process may have done already.
fn remove(path: &Path) {
    drop(fs::remove_file(path));
}
