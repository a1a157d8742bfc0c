//! How a test runs one of the kernels.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::fixture::{Run, built, start};

/// How a kernel comes into the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Boot {
    /// By the loader, as a kernel of the Limine protocol.
    Loader,
    /// By QEMU itself.
    Direct,
    /// By a boot loader on this image, which has the kernel's command line.
    Image(PathBuf),
}

/// A kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its ELF file.
    pub path: PathBuf,
    pub boot: Boot,
}

impl Kernel {
    /// One of those in Rust, below `tools/adopters`.
    pub fn rust(name: &str) -> Self {
        Self {
            path: built(&format!(
                "../../adopters/x86_64-unknown-none/release/{name}"
            )),
            boot: Boot::Loader,
        }
    }

    /// One of those in C, as gcc compiles it and, where there is one, clang.
    pub fn c(folder: &str, name: &str) -> Vec<Self> {
        let path = |compiler: &str| format!("../../adopters/{folder}/{compiler}/{name}");
        let clang = built("loader").with_file_name(path("clang"));
        let compilers: &[&str] = if clang.is_file() {
            &["gcc", "clang"]
        } else {
            eprintln!("{name} by clang: skipped, `make adopters` found no clang");
            &["gcc"]
        };
        let kernel = |compiler: &&str| Self {
            path: built(&path(compiler)),
            boot: Boot::Loader,
        };
        compilers.iter().map(kernel).collect()
    }

    /// The same, booted in another way.
    pub fn by(&self, boot: Boot) -> Self {
        Self {
            boot,
            ..self.clone()
        }
    }

    /// Profiles it, which is to succeed.
    #[track_caller]
    pub fn profile(&self, arguments: &str) -> Run {
        self.attempt(arguments).ended_with(0)
    }

    /// Boots it: it may refuse. The rings are in the kernel's image, which the machine's memory
    /// has to have room for.
    pub fn attempt(&self, arguments: &str) -> Run {
        let arguments = format!("--verbose --memory 256M {arguments}");
        let mut files: Vec<OsString> = vec!["--kernel".into(), self.path.clone().into()];
        match &self.boot {
            Boot::Loader => files.extend(["--loader".into(), built("loader").into()]),
            Boot::Direct => {}
            Boot::Image(image) => files.extend(["--iso".into(), image.clone().into()]),
        }
        start(&arguments, &files)
    }

    /// What it is called in messages: the file, and the folder that it is in.
    pub fn name(&self) -> String {
        let parts = self.path.iter().rev().take(2);
        let mut parts: Vec<_> = parts.map(|part| part.to_string_lossy()).collect();
        parts.reverse();
        parts.join("/")
    }

    pub fn file(&self) -> Vec<u8> {
        std::fs::read(Path::new(&self.path)).unwrap()
    }
}
