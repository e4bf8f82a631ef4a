//! What a batch of files reads and replaces, where it makes its temporary ones, and that it leaves none.

use std::fs;

use super::*;

fn read(batch: &FilesystemBatch, index: usize) -> Option<Vec<u8>> {
    let mut found = None;
    batch
        .open(index, &mut Scratch::default(), &mut |source, _| {
            found = source.map(|source| {
                let mut buffer = ScratchBuffer::default();
                source.read(0..source.len_bytes(), &mut buffer).unwrap().into_owned()
            });
            Ok(())
        })
        .unwrap();
    found
}

const WAYS: [FileAccess; 4] = [
    FileAccess { is_direct: false, kept_handles: 0, may_spread: true },
    FileAccess { is_direct: true, kept_handles: 0, may_spread: true },
    FileAccess { is_direct: false, kept_handles: 2, may_spread: true },
    FileAccess { is_direct: true, kept_handles: 2, may_spread: true },
];

#[test]
fn values_are_made_replaced_and_removed() {
    for (number, access) in WAYS.into_iter().enumerate() {
        let name = format!("wazarr-filesystem-{}-{number}", std::process::id());
        make_replace_and_remove(std::env::temp_dir().join(name), access);
    }
}

fn make_replace_and_remove(root: PathBuf, access: FileAccess) {
    let keys = ["a/c/0/0", "a/c/0", "a/c/0/0/x"].map(String::from).to_vec();
    let batch = FilesystemBatch::new(root.clone(), keys, access);
    assert_eq!(read(&batch, 0), None);
    batch.put(0, None).unwrap();
    batch.put(0, Some(b"old")).unwrap();
    assert_eq!(read(&batch, 0).as_deref(), Some(b"old".as_slice()));
    batch.put(0, Some(b"newer")).unwrap();
    assert_eq!(read(&batch, 0).as_deref(), Some(b"newer".as_slice()));
    fs::write(root.join(&batch.keys[0]), b"overwritten").unwrap();
    assert_eq!(read(&batch, 0).as_deref(), Some(b"overwritten".as_slice()));
    assert_eq!(read(&batch, 1), None, "a folder is no value");
    assert_eq!(read(&batch, 2), None, "nothing lies below a value");
    assert_eq!(fs::read_dir(root.join("a/c/0")).unwrap().count(), 1, "nothing is left beside the value");
    assert!(batch.put(1, Some(b"x")).is_err(), "a folder is not replaced");
    batch.put(0, None).unwrap();
    assert_eq!(read(&batch, 0), None);
    fs::remove_dir_all(root).unwrap();
}

/// What lies below a folder, folders included.
fn listing(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        names.push(entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            names.extend(listing(&entry.path()));
        }
    }
    names
}

#[test]
fn temporary_files_are_made_elsewhere_where_making_them_is_slow() {
    let root = std::env::temp_dir().join(format!("wazarr-elsewhere-{}", std::process::id()));
    let keys: Vec<_> = (0..100).map(|number| format!("a/c/{}/{}", number / 8, number % 8)).collect();
    let mut batch = FilesystemBatch::new(root.clone(), keys, WAYS[0]);
    let value = |index: usize| vec![u8::try_from(index).unwrap(); 100 + index];
    batch.put(0, Some(b"old")).unwrap();
    batch.temporaries = Temporaries::after_slow_ones();
    // Over an old value, beside it, and in folders that are not there yet.
    for index in 0..batch.keys.len() {
        batch.put(index, Some(&value(index))).unwrap();
    }
    for index in 0..batch.keys.len() {
        assert_eq!(read(&batch, index), Some(value(index)));
    }
    let hidden = || listing(&root).into_iter().filter(|name| name.starts_with('.')).collect::<Vec<_>>();
    assert_eq!(hidden().len(), usize::from(batch.temporaries.can_spread(&root)), "{:?}", hidden());
    fs::remove_file(root.join("a/c/3/0")).unwrap();
    fs::create_dir_all(root.join("a/c/3/0/x")).unwrap();
    assert!(batch.put(24, Some(b"x")).is_err(), "a folder is not replaced");
    // Whoever removes the folder meanwhile only makes it slower.
    fs::remove_dir_all(root.join("a")).unwrap();
    batch.put(5, Some(b"again")).unwrap();
    assert_eq!(fs::read(root.join(&batch.keys[5])).unwrap(), b"again");
    batch.end_of_write();
    assert_eq!(hidden(), Vec::<String>::new());
    fs::remove_dir_all(root).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_chunk_on_another_disk_is_replaced_there() {
    let root = std::env::temp_dir().join(format!("wazarr-other-disk-{}", std::process::id()));
    let other = Path::new("/dev/shm").join(root.file_name().unwrap());
    if fs::create_dir(&other).is_err() {
        return; // no second disk that anybody may write to
    }
    fs::create_dir_all(root.join("c")).unwrap();
    std::os::unix::fs::symlink(&other, root.join("c/1")).unwrap();
    let keys: Vec<_> = (0..100).map(|number| format!("c/{}/{}", number / 50, number % 50)).collect();
    let mut batch = FilesystemBatch::new(root.clone(), keys, WAYS[0]);
    batch.temporaries = Temporaries::after_slow_ones();
    for value in [b"one", b"two"] {
        for index in 0..batch.keys.len() {
            batch.put(index, Some(value)).unwrap();
            assert_eq!(read(&batch, index).as_deref(), Some(value.as_slice()));
        }
    }
    assert_eq!(fs::read_dir(&other).unwrap().count(), 50);
    fs::remove_dir_all(root).unwrap();
    fs::remove_dir_all(other).unwrap();
}

#[test]
fn a_folder_that_was_removed_meanwhile_stays_so() {
    let root = std::env::temp_dir().join(format!("wazarr-removed-{}", std::process::id()));
    let path = root.join("c/0");
    let made = temporary::Temporaries::default().beside(&path, false).unwrap();
    fs::remove_dir_all(&root).unwrap();
    let error = replace::replace(&path, made, b"late", false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!root.exists());
}
