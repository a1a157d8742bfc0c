//! Files in which there is no dead kernel to ask: each is said to be what it is.

use std::path::Path;

use crate::command::{pmiscope, refused, text};
use crate::fixture::{file, folder, image, kernel};

const NOTHING: &str = "no kernel of pmiscope's has left word in this memory";

#[test]
fn what_is_no_memory_of_a_kernels_is_refused_by_name() {
    let says = |memory: &Path, part: &str| {
        let elf = text(&kernel().path);
        let postmortem = pmiscope(&["postmortem", text(memory), "--elf", elf]);
        refused(postmortem, 1, &[part]);
        refused(pmiscope(&["log", text(memory)]), 1, &[part]);
    };
    says(Path::new("/no/ram"), "No such file");
    says(folder(), "is a directory");
    says(Path::new("/dev/null"), "is no regular file");
    says(&file("empty.post", b""), "the file is empty");
    says(&file("short.post", &[0; 500]), "no multiple of a page");
    says(&file("odd.post", &[0; 5000]), NOTHING);
    says(&kernel().path, "is an ELF program, not a guest's memory");
    says(
        &file("qcow2.post", b"QFI\xfb\0\0\0\x03"),
        "is a qcow2 image",
    );
    says(&file("zero.post", &[0; 8192]), NOTHING);
    // A run of another kernel has rings, and nothing else.
    says(image(), NOTHING);
    let mut root = vec![0; 8192];
    root[4096..4104].copy_from_slice(&kernel_core::postmortem::MAGIC);
    says(
        &file("version.post", &root),
        "a kernel with another version of what it leaves behind (0) was found",
    );
    root[4104] = 1;
    says(
        &file("damaged.post", &root),
        "what the kernel has left is damaged: nothing of it can be believed",
    );
}

#[test]
fn a_kernel_is_asked_for_its_log_if_there_is_one() {
    let log = pmiscope(&["log", "--pid", "1"]);
    refused(log, 1, &["process 1 is no run of this user's that goes on"]);
    let missing = pmiscope(&[
        "postmortem",
        text(&file("any.post", &[0; 4096])),
        "--elf",
        "/no/kernel",
    ]);
    refused(missing, 1, &["cannot read /no/kernel"]);
}
