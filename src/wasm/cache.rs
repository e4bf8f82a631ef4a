//! Modules by digest: verified bytes and compiled code, in memory and on disk.
//!
//! A [`StoredModule`] has bytes that were compared with its digest, and a survey of them. Its code is
//! compiled when it is first needed, once in a process however many threads want it; the next process finds
//! it in the cache folder ([`folder`]). Code is read from nowhere else.

#![expect(unsafe_code, reason = "deserializes compiled code from our own cache folder")]

pub mod folder;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::compile::compile;
use super::{Code, CompiledModule, Digest, Interface, Survey, WasmError, engine, survey};
use crate::process::PerProcess;
use folder::{Folder, StoredCode};

/// Modules compiled in this process.
pub static COMPILED: AtomicU64 = AtomicU64::new(0);
/// Modules whose compiled code was found on disk.
pub static DESERIALIZED: AtomicU64 = AtomicU64::new(0);

/// Bytes of modules that are kept in memory; those that a codec uses stay all the same.
const KEPT_BYTES: usize = 256 << 20;

/// How many compiled modules are kept.
static COMPILED_LIMIT: AtomicUsize = AtomicUsize::new(64);

/// Sets how many compiled modules are kept.
pub fn set_compiled_limit(count: usize) {
    COMPILED_LIMIT.store(count.max(1), Ordering::Relaxed);
}

/// A module whose bytes are what its digest says.
#[derive(Debug)]
pub struct StoredModule {
    digest: Digest,
    survey: Arc<Survey>,
    /// Read from the folder when they are needed, if that is where the module was found.
    bytes: OnceLock<Arc<[u8]>>,
    folder: Option<Arc<Folder>>,
}

impl StoredModule {
    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it is.
    #[must_use]
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Its bytes, verified.
    ///
    /// # Errors
    /// They were on disk and are gone.
    pub fn bytes(&self) -> Result<Arc<[u8]>, WasmError> {
        if let Some(bytes) = self.bytes.get() {
            return Ok(Arc::clone(bytes));
        }
        let found = self.folder.as_ref().and_then(|folder| folder.load_bytes(self.digest));
        let found = found.ok_or_else(|| {
            WasmError::Host(format!("the bytes of {} are no longer in the cache folder", self.digest))
        })?;
        Ok(Arc::clone(self.bytes.get_or_init(|| found.into())))
    }
}

/// What all of the process knows.
#[derive(Default)]
struct Modules {
    /// Latest used last.
    stored: Vec<Arc<StoredModule>>,
    compiled: HashMap<Key, Arc<Slot>>,
    /// Counts uses of `compiled`.
    clock: u64,
}

/// What is compiled: of a component all of it or only its first core module, for either engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    digest: Digest,
    is_embedded_core: bool,
    is_metered: bool,
}

/// The code of one key; locked while it is being compiled.
#[derive(Default)]
struct Slot {
    code: Mutex<Option<Result<Code, String>>>,
    used: AtomicU64,
}

static MODULES: PerProcess<Mutex<Modules>> = PerProcess::new(Mutex::default);

fn modules() -> MutexGuard<'static, Modules> {
    MODULES.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// To be called in the child after a fork. What the parent had stored the child has too, unless another thread
/// was at it just then.
pub fn after_fork_in_child() {
    let stored = match MODULES.get().try_lock() {
        Ok(modules) => modules.stored.clone(),
        Err(_) => Vec::new(),
    };
    MODULES.forget_in_child();
    modules().stored = stored;
}

/// Stores a module of at most `limit_bytes`, in memory and in the folder.
///
/// # Errors
/// Another digest than expected, or bytes that are no module; see [`Survey::of`].
pub fn put(
    bytes: &[u8],
    expected: Option<Digest>,
    folder: Option<Arc<Folder>>,
    limit_bytes: usize,
) -> Result<Arc<StoredModule>, WasmError> {
    survey::check_len(bytes.len(), limit_bytes)?;
    let digest = Digest::of(bytes);
    if let Some(expected) = expected.filter(|&expected| expected != digest) {
        return Err(WasmError::Digest { expected: expected.to_string(), actual: digest.to_string() });
    }
    if let Some(known) = find_in_memory(digest) {
        let has_folder =
            known.folder.as_ref().map(|folder| folder.path()) == folder.as_ref().map(|f| f.path());
        if has_folder || folder.is_none() {
            return Ok(known);
        }
    }
    let survey = Arc::new(Survey::of(bytes, limit_bytes)?);
    if let Some(folder) = &folder {
        folder.store_bytes(digest, bytes, &survey);
    }
    let stored = StoredModule { digest, survey, bytes: OnceLock::new(), folder };
    stored.bytes.get_or_init(|| bytes.into());
    Ok(remember(Arc::new(stored)))
}

/// The module of that digest, from memory or the folder.
#[must_use]
pub fn find(digest: Digest, folder: Option<&Arc<Folder>>) -> Option<Arc<StoredModule>> {
    if let Some(known) = find_in_memory(digest) {
        return Some(known);
    }
    let folder = folder?;
    let (survey, bytes) = folder.load_survey(digest)?;
    let stored = StoredModule {
        digest,
        survey: Arc::new(survey),
        bytes: OnceLock::new(),
        folder: Some(Arc::clone(folder)),
    };
    if let Some(bytes) = bytes {
        stored.bytes.get_or_init(|| bytes.into());
    }
    Some(remember(Arc::new(stored)))
}

fn find_in_memory(digest: Digest) -> Option<Arc<StoredModule>> {
    let mut modules = modules();
    let at = modules.stored.iter().position(|module| module.digest == digest)?;
    let found = modules.stored.remove(at);
    modules.stored.push(Arc::clone(&found));
    Some(found)
}

fn remember(module: Arc<StoredModule>) -> Arc<StoredModule> {
    let mut modules = modules();
    modules.stored.retain(|known| known.digest != module.digest);
    modules.stored.push(Arc::clone(&module));
    let mut sum = 0_usize;
    let kept = modules.stored.iter().rev().take_while(|module| {
        sum = sum.saturating_add(module.survey.len_bytes);
        sum <= KEPT_BYTES
    });
    let forgotten = modules.stored.len() - kept.count().max(1);
    modules.stored.drain(..forgotten);
    module
}

/// The code of a module for an interface, compiled if need be.
///
/// # Errors
/// A module that is not valid.
pub fn compiled(
    module: &StoredModule,
    interface: Interface,
    is_metered: bool,
) -> Result<CompiledModule, WasmError> {
    let is_embedded_core = interface == Interface::NumcodecsCore;
    let key = Key { digest: module.digest, is_embedded_core, is_metered };
    let slot = slot(key);
    let mut code = slot.code.lock().unwrap_or_else(PoisonError::into_inner);
    let code = match &*code {
        Some(known) => known.clone(),
        None => match load_or_compile(module, key) {
            // Bytes that are no valid module will not become one.
            Err(WasmError::Invalid(reason)) => code.insert(Err(reason)).clone(),
            result => code.insert(Ok(result?)).clone(),
        },
    };
    let code = code.map_err(WasmError::Invalid)?;
    Ok(CompiledModule::new(module.digest, Arc::clone(&module.survey), interface, code, is_metered))
}

/// The slot of a key; another that was not used for long makes room.
fn slot(key: Key) -> Arc<Slot> {
    let mut modules = modules();
    modules.clock += 1;
    let now = modules.clock;
    if !modules.compiled.contains_key(&key)
        && modules.compiled.len() >= COMPILED_LIMIT.load(Ordering::Relaxed)
    {
        let oldest = modules.compiled.iter().min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
        if let Some(oldest) = oldest.map(|(key, _)| *key) {
            modules.compiled.remove(&oldest);
        }
    }
    let slot = modules.compiled.entry(key).or_default();
    slot.used.store(now, Ordering::Relaxed);
    Arc::clone(slot)
}

fn load_or_compile(module: &StoredModule, key: Key) -> Result<Code, WasmError> {
    let engine = engine::get(key.is_metered)?;
    let is_component = module.survey.is_component && !key.is_embedded_core;
    let name = folder::code_name(key.digest, engine, key.is_metered, key.is_embedded_core);
    if let Some(code) = module.folder.as_ref().and_then(|folder| folder.load_code(&name)) {
        // Code of another engine, or of another version of it, has another name; what is wrong with this
        // one all the same is cured by compiling.
        if let Some(code) = deserialize(engine, code, is_component) {
            DESERIALIZED.fetch_add(1, Ordering::Relaxed);
            return Ok(code);
        }
    }
    let bytes = module.bytes()?;
    let bytes = match &module.survey.embedded_core {
        Some(range) if key.is_embedded_core => bytes.get(range.clone()).unwrap_or_default(),
        _ => &bytes,
    };
    let code = compile(engine, bytes, is_component)?;
    COMPILED.fetch_add(1, Ordering::Relaxed);
    if let Some(folder) = &module.folder {
        let serialized = match &code {
            Code::Core(module) => module.serialize(),
            Code::Component(component) => component.serialize(),
        };
        if let Ok(serialized) = serialized {
            folder.store_code(&name, &serialized);
        }
    }
    Ok(code)
}

/// Code from the cache folder. Its checksum was compared, and only this user can write there.
fn deserialize(engine: &Engine, code: StoredCode, is_component: bool) -> Option<Code> {
    if let Some(mapped) = code.mappable().and_then(|file| map(engine, file, is_component)) {
        return Some(mapped);
    }
    // Where nothing may be mapped that is to run, as on some file systems.
    let bytes = code.read().ok()?;
    if is_component {
        // SAFETY: `Folder::load_code` takes only files that are this user's, in a folder that nobody else can
        // write to, written by `Folder::store_code` with what this engine serialized.
        unsafe { Component::deserialize(engine, bytes) }.ok().map(Code::Component)
    } else {
        // SAFETY: as above.
        unsafe { Module::deserialize(engine, bytes) }.ok().map(Code::Core)
    }
}

/// Maps the very file that was checked.
#[cfg(target_os = "linux")]
fn map(engine: &Engine, file: &std::fs::File, is_component: bool) -> Option<Code> {
    use std::os::fd::AsRawFd;
    if is_component {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: as in `deserialize`; besides, such a file is replaced or removed, but never changed, so what is
        // mapped stays as it is.
        unsafe { Component::deserialize_file(engine, path) }.ok().map(Code::Component)
    } else {
        // SAFETY: as above.
        unsafe { Module::deserialize_open_file(engine, file.try_clone().ok()?) }.ok().map(Code::Core)
    }
}

#[cfg(not(target_os = "linux"))]
fn map(_: &Engine, _: &std::fs::File, _: bool) -> Option<Code> {
    None
}

#[cfg(test)]
#[cfg(unix)]
#[path = "cache_tests.rs"]
mod tests;
