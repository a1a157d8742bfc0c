//! Kernels that are large, by what is loaded of them and by what is not, and large rings.

use std::fs::{self, File};
use std::path::Path;

use pmiscope::internals::Profile;

use crate::fixture::{Run, built, folder, run, start};

const MIB: u64 = 1 << 20;

/// A run of this kernel, by the loader that the tool finds by itself.
fn run_kernel(kernel: &Path) -> Run {
    let kernel = ["--kernel".into(), kernel.as_os_str().to_owned()];
    start("--samples 2000", &kernel).ended_with(0)
}

#[test]
fn a_kernel_with_much_debug_information_has_room_by_default_and_is_in_the_profile() {
    let plain = fs::read(built("kernel")).unwrap();
    let path = folder().join("much debug, information");
    fs::write(&path, &plain).unwrap();
    let size = plain.len() as u64 + 70 * MIB;
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(size).unwrap();
    let run = run_kernel(&path);
    run.samples().assert_whole(4, 2000);
    let profile = Profile::read(fs::read(&run.profile).unwrap()).unwrap();
    assert_eq!(profile.kernel.unwrap().len() as u64, size);
}

#[test]
fn what_is_loaded_has_room_by_default() {
    let mut kernel = fs::read(built("kernel")).unwrap();
    // The last segment gets more zeros behind it (System V ABI, program header).
    let word = |at: usize| u64::from_le_bytes(kernel[at..at + 8].try_into().unwrap());
    let headers = usize::try_from(word(32)).unwrap();
    let count = usize::from(u16::from_le_bytes([kernel[56], kernel[57]]));
    let loads = (0..count).map(|number| headers + 56 * number);
    let loads = loads.filter(|&at| kernel[at..at + 4] == [1, 0, 0, 0]);
    let last = loads.max_by_key(|&at| word(at + 16)).unwrap();
    let size = word(last + 40) + 70 * MIB;
    kernel[last + 40..last + 48].copy_from_slice(&size.to_le_bytes());
    let path = folder().join("much-data");
    fs::write(&path, kernel).unwrap();
    run_kernel(&path).samples().assert_whole(4, 2000);
}

#[test]
fn rings_that_do_not_fit_below_the_devices_are_behind_them() {
    run("--smp 3 --ring 1G --samples 2000")
        .ended_with(0)
        .samples()
        .assert_whole(3, 2000);
}
