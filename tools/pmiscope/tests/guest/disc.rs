//! Discs that the machine boots from: a hybrid image made here, whose two boot programs say
//! on the serial port which of them was started.

use std::fs;
use std::path::{Path, PathBuf};

use crate::fixture::{built, folder, start};

const SECTOR: usize = 2048;
/// A BIOS boots from no disk of less than a cylinder.
const BYTES: usize = 4 << 20;

/// A program for a BIOS, which is loaded to 0x7c00: it writes a sector of garbage behind the
/// first of its disc, if it can, says `text` on the serial port, and ends QEMU as a kernel
/// does that is done.
fn program(text: &str) -> Vec<u8> {
    #[rustfmt::skip]
    let mut code = vec![
        0x31, 0xc0,             // xor ax, ax
        0x8e, 0xd8,             // mov ds, ax
        0x8e, 0xc0,             // mov es, ax
        0xb8, 0x01, 0x03,       // mov ax, 0x0301     write one sector
        0xbb, 0x00, 0x7c,       // mov bx, 0x7c00     these bytes
        0xb9, 0x02, 0x00,       // mov cx, 2          to the second sector
        0xb6, 0x00,             // mov dh, 0          of the disc that was booted
        0xcd, 0x13,             // int 0x13
        0xbe, 0x00, 0x00,       // mov si, text
        0xba, 0xf8, 0x03,       // mov dx, 0x3f8
        0xac,                   // next: lodsb
        0x84, 0xc0,             // test al, al
        0x74, 0x03,             // jz done
        0xee,                   // out dx, al
        0xeb, 0xf8,             // jmp next
        0xb0, 0x10,             // done: mov al, 0x10
        0xba, 0xf4, 0x00,       // mov dx, 0xf4
        0xee,                   // out dx, al
        0xf4,                   // halt: hlt
        0xeb, 0xfd,             // jmp halt
    ];
    let address = u16::try_from(0x7c00 + code.len()).unwrap();
    code[20..22].copy_from_slice(&address.to_le_bytes());
    code.extend(text.as_bytes());
    code.extend(b"\r\n\0");
    code.resize(510, 0);
    code.extend([0x55, 0xaa]);
    code
}

/// An image with a boot sector, which is also a CD that boots (El Torito 1.0), if it is to be.
fn image(name: &str, is_cd: bool) -> PathBuf {
    let mut image = vec![0; BYTES];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &program("booted as a hard disk"));
    if is_cd {
        // The volume; the boot record, which says where the catalog is; the end of these.
        put(16 * SECTOR, b"\x01CD001\x01");
        put(17 * SECTOR, b"\x00CD001\x01EL TORITO SPECIFICATION");
        put(17 * SECTOR + 0x47, &19u32.to_le_bytes());
        put(18 * SECTOR, b"\xffCD001\x01");
        // The catalog: its check, then the program: no emulation, 4 sectors of 512 bytes.
        put(19 * SECTOR, &[0x01]);
        put(19 * SECTOR + 0x1c, &[0xaa, 0x55, 0x55, 0xaa]);
        put(
            19 * SECTOR + 0x20,
            &[0x88, 0, 0, 0, 0, 0, 4, 0, 20, 0, 0, 0],
        );
        put(20 * SECTOR, &program("booted as a CD"));
    }
    let path = folder().join(name);
    fs::write(&path, image).unwrap();
    path
}

/// Boots the image, whose program has to say this, and which has to stay as it is.
#[track_caller]
fn boots(image: &Path, arguments: &str, says: &str) {
    let before = fs::read(image).unwrap();
    let more = [
        "--kernel".into(),
        built("kernel").into_os_string(),
        "--disc".into(),
        image.as_os_str().to_owned(),
    ];
    let arguments = format!("--verbose --smp 1 {arguments}");
    // It is no kernel that samples.
    start(&arguments, &more).ended_with(1).saying(&[says]);
    assert!(
        fs::read(image).unwrap() == before,
        "{arguments}: the image was written to"
    );
}

#[test]
fn a_disc_boots_as_what_it_is_or_is_said_to_be() {
    let hybrid = image("hybrid.img", true);
    boots(&hybrid, "", "booted as a CD");
    boots(&hybrid, "--disc-as hd", "booted as a hard disk");
    let hard = image("hard.img", false);
    boots(&hard, "", "booted as a hard disk");
    boots(&hard, "--mode realtime", "booted as a hard disk");
    boots(&hybrid, "--mode realtime --disc-as cd", "booted as a CD");
}
