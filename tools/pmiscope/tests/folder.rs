//! Where tests leave their files: in the build directory, a folder for each process
//! that runs tests, and in it one for each test, so that two that run side by side may give
//! their files the same names. It stays until tests are run again, so that a test that has
//! failed can be looked into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// The folder of the test that runs on this thread.
pub fn folder() -> &'static Path {
    thread_local! {
        static FOLDER: &'static Path = Box::leak(of_test().into_boxed_path());
    }
    FOLDER.with(|folder| *folder)
}

/// A folder with the beginning of the test's name: sockets in it must not have long ones.
fn of_test() -> PathBuf {
    const SHOWN: usize = 24;
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let thread = thread::current();
    let name = thread.name().unwrap_or("thread");
    let (_, name) = name.rsplit_once("::").unwrap_or(("", name));
    let shown: String = name.chars().take(SHOWN).collect();
    let folder = of_process().join(format!("{number}-{shown}"));
    fs::create_dir(&folder).unwrap();
    folder
}

/// The folder of this process. The first call removes those of processes that are
/// gone.
fn of_process() -> &'static Path {
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
