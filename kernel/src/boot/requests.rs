//! What the kernel asks of a boot loader that speaks the Limine protocol.
//!
//! The loader finds these between the two markers in the loaded image and writes
//! a pointer to its answer into each. Base revision 2 is the newest that Limine
//! 7 and 8 know; its direct map covers the first 4 GiB and all usable memory.

use core::sync::atomic::AtomicU64;

use limine::mp::MP_FLAG_X2APIC;
use limine::request::{
    BootloaderInfoRequest, ExecutableAddressRequest, ExecutableCmdlineRequest,
    ExecutableFileRequest, FramebufferRequest, HhdmRequest, MemmapRequest, ModulesRequest,
    MpRequest, RsdpRequest,
};
use limine::{BaseRevision, RequestsEndMarker, RequestsStartMarker};

#[used]
#[unsafe(link_section = ".limine_requests_start")]
static START: RequestsStartMarker = RequestsStartMarker::new();

#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static BASE_REVISION: BaseRevision = BaseRevision::with_revision(2);

#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static BOOTLOADER: BootloaderInfoRequest = BootloaderInfoRequest::new();

/// Limine 8 and later; before, the command line came with the file.
#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static COMMAND_LINE: ExecutableCmdlineRequest = ExecutableCmdlineRequest::new();

#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static EXECUTABLE_FILE: ExecutableFileRequest = ExecutableFileRequest::new();

#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static EXECUTABLE_ADDRESS: ExecutableAddressRequest = ExecutableAddressRequest::new();

#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static DIRECT_MAP: HhdmRequest = HhdmRequest::new();

#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static MEMORY_MAP: MemmapRequest = MemmapRequest::new();

/// With x2APIC where the machine has it: without, core numbers end at 254.
#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static CORES: MpRequest = MpRequest::new(MP_FLAG_X2APIC);

#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static RSDP: RsdpRequest = RsdpRequest::new();

#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static FRAMEBUFFER: FramebufferRequest = FramebufferRequest::new();

/// No request of the protocol, which boot loaders ignore: pmiscope's tool and its loader take it
/// to say that the kernel does without a framebuffer, so that a machine gets none unless its
/// screen is to be seen. Like all requests: an id, of which half is the same in all, a revision,
/// and where an answer would be.
#[used]
#[unsafe(link_section = ".limine_requests")]
static FRAMEBUFFER_IS_OPTIONAL: [AtomicU64; 6] = [
    AtomicU64::new(0xc7b1_dd30_df4c_8b88),
    AtomicU64::new(0x0a82_e883_a194_f07b),
    AtomicU64::new(0x706d_6973_636f_7065),
    AtomicU64::new(0x6f70_7469_6f6e_616c),
    AtomicU64::new(0),
    AtomicU64::new(0),
];

/// Programs, for processes.
#[used]
#[unsafe(link_section = ".limine_requests")]
pub(super) static MODULES: ModulesRequest = ModulesRequest::new();

/// Likewise: the kernel does without modules, so that their absence is nothing to be told.
#[used]
#[unsafe(link_section = ".limine_requests")]
static MODULES_ARE_OPTIONAL: [AtomicU64; 6] = [
    AtomicU64::new(0xc7b1_dd30_df4c_8b88),
    AtomicU64::new(0x0a82_e883_a194_f07b),
    AtomicU64::new(0x706d_6973_636f_7065),
    AtomicU64::new(0x6d6f_6475_6c65_733f),
    AtomicU64::new(0),
    AtomicU64::new(0),
];

#[used]
#[unsafe(link_section = ".limine_requests_end")]
static END: RequestsEndMarker = RequestsEndMarker::new();
