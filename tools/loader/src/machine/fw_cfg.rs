//! QEMU's configuration device: files that the loader asks for, by ports and by direct
//! memory access (QEMU, docs/specs/fw_cfg).

use core::sync::atomic::{Ordering, fence};

use loader::fw_cfg::{ENTRY_SIZE, Item, Items};
use x86_64::VirtAddr;
use x86_64::instructions::port::Port;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const ACCESS: u16 = 0x514;

/// Keys that are always there: what device this is, what it can do, its directory.
const SIGNATURE: u16 = 0;
const FEATURES: u16 = 1;
const DIRECTORY: u16 = 0x19;

/// In the features: it accesses memory by itself.
const HAS_ACCESS: u8 = 1 << 1;

/// Commands of an access.
const FAILED: u32 = 1 << 0;
const READ: u32 = 1 << 1;
const SELECT: u32 = 1 << 3;
const WRITE: u32 = 1 << 4;

/// The device.
pub struct FwCfg(());

/// What one access is to do, as the device reads it: big-endian.
#[repr(C, align(8))]
struct Access {
    control: u32,
    length: u32,
    address: u64,
}

impl FwCfg {
    /// Looks for it. Other emulators have none.
    pub fn find() -> Option<Self> {
        let mut signature = [0; 4];
        read_by_port(SIGNATURE, &mut signature);
        let mut features = [0];
        read_by_port(FEATURES, &mut features);
        (signature == *b"QEMU" && features[0] & HAS_ACCESS != 0).then_some(Self(()))
    }

    /// What of its files the loader knows.
    pub fn items(&mut self) -> Items {
        let mut count = [0; 4];
        let mut items = Items::default();
        if !self.transfer(read_of(DIRECTORY), &mut count) {
            return items;
        }
        for _ in 0..u32::from_be_bytes(count) {
            let mut entry = [0; ENTRY_SIZE];
            if !self.transfer(READ, &mut entry) {
                break;
            }
            items.note(&entry);
        }
        items
    }

    /// Reads a file's beginning. Returns true if that was possible.
    pub fn read(&mut self, item: Item, into: &mut [u8]) -> bool {
        self.transfer(read_of(item.key), into)
    }

    /// Writes a file's beginning. Returns true if that was possible.
    pub fn write(&mut self, item: Item, from: &mut [u8]) -> bool {
        self.transfer(u32::from(item.key) << 16 | SELECT | WRITE, from)
    }

    fn transfer(&mut self, control: u32, bytes: &mut [u8]) -> bool {
        let mut access = Access {
            control: control.to_be(),
            length: u32::try_from(bytes.len()).expect("is below 4 GiB").to_be(),
            address: VirtAddr::from_ptr(bytes.as_mut_ptr()).as_u64().to_be(),
        };
        let place = VirtAddr::from_ptr(&raw mut access).as_u64();
        let place = u32::try_from(place).expect("the loader is below 4 GiB");
        // The device sees what was written until here, and the loader what it writes.
        fence(Ordering::SeqCst);
        // SAFETY: the loader's memory is mapped to itself, so these are physical
        // addresses; the device accesses those bytes and the structure, before this
        // returns, and both are borrowed for as long.
        unsafe { Port::<u32>::new(ACCESS).write(0) };
        // SAFETY: as before; the low half of the address starts the access.
        unsafe { Port::<u32>::new(ACCESS + 4).write(place.to_be()) };
        fence(Ordering::SeqCst);
        loop {
            // SAFETY: the structure is there, and numbers may have any value.
            let control = unsafe { (&raw const access.control).read_volatile() };
            match u32::from_be(control) {
                0 => return true,
                left if left & FAILED != 0 => return false,
                _ => core::hint::spin_loop(),
            }
        }
    }
}

/// To read from the beginning of the file with this key.
const fn read_of(key: u16) -> u32 {
    (key as u32) << 16 | SELECT | READ
}

fn read_by_port(key: u16, into: &mut [u8]) {
    // SAFETY: selecting a file of the device changes nothing but what is read next; what
    // is there in its place ignores it.
    unsafe { Port::<u16>::new(SELECTOR).write(key) };
    for byte in into {
        // SAFETY: reading has no effect but that the next byte is read next.
        *byte = unsafe { Port::<u8>::new(DATA).read() };
    }
}
