//! Files that are kept open from one read to the next (`codec_pipeline.file_handle_cache_size`).
//!
//! A kept file is used only if the system says, at that moment, that its path still leads to this very file: same
//! device, same number, same last change. A number is not given to another file while somebody has the file open.
//! So a reader sees what it would see had it opened the file then, whoever replaced, deleted or overwrote it.
//! That holds for file systems of this machine; those on the network answer from a memory of their own, and files
//! there are opened each time.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Status;
use crate::process::PerProcess;

/// The files of a process, by path and whether requests pass by the page cache.
static KEPT: PerProcess<Mutex<Handles>> = PerProcess::new(|| Mutex::new(Handles::default()));

/// To be called in the child after a fork, before anything else here.
pub fn after_fork_in_child() {
    KEPT.forget_in_child();
}

/// Takes a lock of the kept files.
pub(super) fn kept() -> MutexGuard<'static, Handles> {
    KEPT.get().lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
pub(super) struct Handles {
    files: HashMap<PathBuf, Kept>,
    /// Counts uses.
    clock: u64,
}

struct Kept {
    file: Arc<File>,
    status: Status,
    is_direct: bool,
    used: u64,
}

/// When there are too many, this share of them is closed, the longest unused first.
const CLOSED_SHARE: usize = 8;

impl Handles {
    /// The file kept for `path`, if that still leads to it.
    pub(super) fn find(&mut self, path: &Path, now: &Status, is_direct: bool) -> Option<Arc<File>> {
        let kept = self.files.get_mut(path)?;
        if kept.status.is_of_same_file(now) && kept.is_direct == is_direct {
            self.clock += 1;
            kept.used = self.clock;
            return Some(Arc::clone(&kept.file));
        }
        // Its space on the disk is freed with the last one who has it open.
        self.files.remove(path);
        None
    }

    /// Forgets what was kept for a path that leads nowhere any more.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// Keeps an open file, one of at most `most`.
    pub(super) fn keep(
        &mut self,
        path: PathBuf,
        file: &Arc<File>,
        status: Status,
        is_direct: bool,
        most: usize,
    ) {
        if self.files.len() >= most && !self.files.contains_key(&path) {
            self.close_some(most);
        }
        self.clock += 1;
        self.files.insert(path, Kept { file: Arc::clone(file), status, is_direct, used: self.clock });
    }

    fn close_some(&mut self, most: usize) {
        let left = most - most.div_ceil(CLOSED_SHARE);
        let mut uses: Vec<u64> = self.files.values().map(|kept| kept.used).collect();
        uses.sort_unstable();
        let oldest = uses.get(uses.len().saturating_sub(left)).copied().unwrap_or(u64::MAX);
        self.files.retain(|_, kept| kept.used >= oldest);
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::fs;

    use super::super::folder::status_of;
    use super::*;

    fn opened(path: &Path) -> (Arc<File>, Status) {
        let file = File::open(path).unwrap();
        let status = status_of(&file).unwrap();
        (Arc::new(file), status)
    }

    #[test]
    fn only_the_same_file_is_found_and_the_oldest_are_closed() {
        let folder = std::env::temp_dir().join(format!("wazarr-handles-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a");
        fs::write(&path, b"old").unwrap();
        let mut handles = Handles::default();
        let (file, status) = opened(&path);
        handles.keep(path.clone(), &file, status.clone(), false, 4);
        assert!(handles.find(&path, &status, false).is_some());
        assert!(handles.find(&path, &status, true).is_none(), "another kind of requests");
        handles.keep(path.clone(), &file, status, false, 4);
        fs::write(folder.join("b"), b"new").unwrap();
        fs::rename(folder.join("b"), &path).unwrap();
        assert!(handles.find(&path, &opened(&path).1, false).is_none(), "replaced");
        for name in 0..9 {
            let path = folder.join(name.to_string());
            fs::write(&path, b"x").unwrap();
            let (file, status) = opened(&path);
            handles.keep(path, &file, status, false, 4);
            assert!(handles.files.len() <= 4);
        }
        assert!(handles.files.contains_key(&folder.join("8")));
        assert!(!handles.files.contains_key(&folder.join("0")));
        fs::remove_dir_all(folder).unwrap();
    }
}
