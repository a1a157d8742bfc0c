//! Where tests leave their files: in the build directory, a folder for each process
//! that runs tests. It stays until tests are run again, so that a test that has
//! failed can be looked into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;

/// The folder of this process. The first call removes those of processes that are
/// gone.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("processes");
        for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
            if !Path::new("/proc").join(entry.file_name()).exists() {
                // What cannot be removed is left to `make clean`.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let own = all.join(process::id().to_string());
        // Its number was another process's before, maybe.
        let _ = fs::remove_dir_all(&own);
        fs::create_dir_all(&own).unwrap();
        own
    })
}
