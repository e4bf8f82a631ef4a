//! Modules come back as they were, or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::wasm::instances::{Instances, Recipe};
use crate::wasm::testing::*;

/// A copying module that no other test has.
fn module(name: &str) -> Vec<u8> {
    guest(&format!(r#"{COPY} (func (export "{name}"))"#))
}

fn folder(temporary: &TemporaryFolder) -> Arc<Folder> {
    Arc::new(Folder::open(temporary.path()).unwrap())
}

fn forget(digest: Digest) {
    let mut modules = modules();
    modules.stored.retain(|module| module.digest != digest);
    modules.compiled.retain(|key, _| key.digest != digest);
}

fn files(temporary: &TemporaryFolder, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

fn works(module: &Arc<StoredModule>) -> bool {
    let recipe = Recipe::new(Arc::clone(module), None, setup(), small_limits(), false).unwrap();
    decode_with(&mut Instances::default(), &recipe, &[1, 2, 3], exactly(3)).unwrap() == [1, 2, 3]
}

#[test]
fn digests_are_compared() {
    let (one, other) = (module("one"), module("other"));
    let error = put(&one, Some(Digest::of(&other)), None, MODULE_LIMIT).unwrap_err();
    assert!(matches!(error, WasmError::Digest { .. }), "{error}");
    assert!(find(Digest::of(&one), None).is_none());
    let stored = put(&one, Some(Digest::of(&one)), None, MODULE_LIMIT).unwrap();
    assert_eq!(&*stored.bytes().unwrap(), &one[..]);
    assert!(find(Digest::of(&one), None).is_some());
}

#[test]
fn a_folder_keeps_modules_and_code() {
    let temporary = TemporaryFolder::new();
    let bytes = module("kept");
    let stored = put(&bytes, None, Some(folder(&temporary)), MODULE_LIMIT).unwrap();
    let digest = stored.digest();
    assert!(works(&stored));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(temporary.path()), 0o700);
    let code = files(&temporary, ".cwasm");
    assert!(code.len() == 1 && mode(&code[0]) == 0o600, "{code:?}");
    assert!(code[0].to_string_lossy().ends_with("-m.cwasm"));
    // As another process finds it; what is compiled is not read.
    forget(digest);
    let found = find(digest, Some(&folder(&temporary))).unwrap();
    assert_eq!(found.survey(), stored.survey());
    assert!(works(&found) && found.bytes.get().is_none());
    assert_eq!(&*found.bytes().unwrap(), &bytes[..]);
}

#[test]
fn damage_is_cured() {
    let temporary = TemporaryFolder::new();
    let bytes = module("damaged");
    let digest = Digest::of(&bytes);
    assert!(works(&put(&bytes, None, Some(folder(&temporary)), MODULE_LIMIT).unwrap()));
    for ending in ["-m.cwasm", ".json"] {
        for damage in [0, 20, 300] {
            let path = files(&temporary, ending).remove(0);
            let sound = fs::read(&path).unwrap();
            let mut damaged = sound.clone();
            damaged[damage.min(sound.len() - 1)] ^= 0x10;
            for content in [&damaged[..], &sound[..damage], b""] {
                fs::write(&path, content).unwrap();
                forget(digest);
                assert!(works(&find(digest, Some(&folder(&temporary))).unwrap()), "{ending} {damage}");
                let cured = fs::read(&path).unwrap();
                assert_eq!(cured.len(), sound.len());
            }
        }
    }
    // Code that some other program wrote, with a right checksum.
    let path = files(&temporary, ".cwasm").remove(0);
    let name = path.file_name().unwrap().to_str().unwrap();
    folder(&temporary).store_code(name, b"something else entirely");
    forget(digest);
    assert!(works(&find(digest, Some(&folder(&temporary))).unwrap()));
    // The module itself: there is nothing to make it from.
    let path = files(&temporary, ".wasm").remove(0);
    fs::write(&path, b"\0asm").unwrap();
    forget(digest);
    let found = find(digest, Some(&folder(&temporary))).unwrap();
    assert!(found.bytes().is_err() && files(&temporary, ".wasm").is_empty());
    forget(digest);
    assert!(find(digest, Some(&folder(&temporary))).is_none());
}

#[test]
fn folders_that_others_could_write_to_are_refused() {
    let temporary = TemporaryFolder::new();
    fs::create_dir(temporary.path()).unwrap();
    for mode in [0o770, 0o702, 0o777, 0o755] {
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(mode)).unwrap();
        let refused = Folder::open(temporary.path());
        assert!(matches!(refused, Err(WasmError::CacheFolder { .. })), "{mode:o}");
    }
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o700)).unwrap();
    Folder::open(temporary.path()).unwrap();
    let link = TemporaryFolder::new();
    std::os::unix::fs::symlink(temporary.path(), link.path()).unwrap();
    assert!(Folder::open(link.path()).is_err());
    fs::remove_file(link.path()).unwrap();
    fs::write(link.path(), b"").unwrap();
    assert!(Folder::open(link.path()).is_err());
    fs::remove_file(link.path()).unwrap();
    // Only root can give a folder away.
    if std::os::unix::fs::chown(temporary.path(), Some(12345), None).is_ok() {
        let refused = Folder::open(temporary.path()).unwrap_err().to_string();
        assert!(refused.contains("belongs to user 12345"), "{refused}");
    }
}

#[test]
fn files_that_others_could_have_written_are_not_read() {
    let temporary = TemporaryFolder::new();
    let bytes = module("writable");
    assert!(works(&put(&bytes, None, Some(folder(&temporary)), MODULE_LIMIT).unwrap()));
    let path = files(&temporary, ".cwasm").remove(0);
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(folder(&temporary).load_code(&name).is_some());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(folder(&temporary).load_code(&name).is_none());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let elsewhere = temporary.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(folder(&temporary).load_code(&name).is_none());
}

#[test]
fn a_folder_has_a_limit() {
    let temporary = TemporaryFolder::new();
    let folder = folder(&temporary);
    for number in 0..5 {
        let bytes = module(&format!("limited{number}"));
        folder.store_bytes(Digest::of(&bytes), &bytes, &Survey::of(&bytes, MODULE_LIMIT).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(15));
    }
    assert_eq!(files(&temporary, ".wasm").len(), 5);
    let newest = Digest::of(&module("limited4"));
    folder.shrink(1500);
    let left = files(&temporary, "");
    let sum: u64 = left.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(sum <= 1500 && !left.is_empty(), "{left:?}");
    assert!(folder.load_bytes(newest).is_some());
}

#[test]
fn a_module_that_is_not_valid_stays_so() {
    // Sections are in order, types are not.
    let invalid = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x05\x01\x03\0\x1a\x0b".to_vec();
    let mut exported = invalid.clone();
    // An export section before the code: `wazarr_abi` is function 0.
    let export = b"\x07\x0e\x01\x0awazarr_abi\0\0";
    exported.splice(18..18, export.iter().copied());
    let stored = put(&exported, None, None, MODULE_LIMIT).unwrap();
    for _ in 0..2 {
        let error = compiled(&stored, Interface::WazarrCore, true).unwrap_err();
        assert!(matches!(error, WasmError::Invalid(_)), "{error}");
    }
}

#[test]
fn many_threads_compile_once() {
    let stored = put(&module("threads"), None, None, MODULE_LIMIT).unwrap();
    let slots: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| works(&stored))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(slots, [true; 8]);
}
