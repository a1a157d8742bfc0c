//! Where a boot loader that speaks the Limine protocol enters.

use core::panic::PanicInfo;

use limine::mp::{MP_FLAG_X2APIC, MpInfo};
use limine::request::{ExecutableCmdlineRequest, HhdmRequest, MpRequest};
use limine::{BaseRevision, RequestsEndMarker, RequestsStartMarker};

use crate::model::Expected;
use crate::{cores, machine, report, strict, tests};

#[used]
#[unsafe(link_section = ".limine_requests_start")]
static START: RequestsStartMarker = RequestsStartMarker::new();

#[used]
#[unsafe(link_section = ".limine_requests")]
static BASE_REVISION: BaseRevision = BaseRevision::with_revision(2);

#[used]
#[unsafe(link_section = ".limine_requests")]
static COMMAND_LINE: ExecutableCmdlineRequest = ExecutableCmdlineRequest::new();

#[used]
#[unsafe(link_section = ".limine_requests")]
static DIRECT_MAP: HhdmRequest = HhdmRequest::new();

#[used]
#[unsafe(link_section = ".limine_requests")]
static CORES: MpRequest = MpRequest::new(MP_FLAG_X2APIC);

#[used]
#[unsafe(link_section = ".limine_requests_end")]
static END: RequestsEndMarker = RequestsEndMarker::new();

/// The first core.
#[unsafe(no_mangle)]
extern "C" fn guest_entry() -> ! {
    let direct_map = DIRECT_MAP.response().expect("where the direct map is");
    machine::set_direct_map(direct_map.offset);
    let words = COMMAND_LINE.response().expect("the command line").cmdline();
    let all = CORES.response().expect("which cores there are").cpus();
    cores::set_count(all.len());
    machine::load_descriptors();
    machine::open_image_to_user();
    if words.contains("strict=thermal") {
        // As it is handed over.
        strict::first_core(words);
        report::finish();
    }
    machine::enable_apic();
    for core in all.iter().filter(|core| core.lapic_id != 0) {
        core.bootstrap(other_core, 0);
    }
    if !strict::first_core(words) {
        tests::first_core(&Expected::parse(words));
    }
    report::finish()
}

/// The others.
unsafe extern "C" fn other_core(_: &MpInfo) -> ! {
    machine::load_descriptors();
    machine::flush_translations();
    machine::enable_apic();
    strict::other_core();
    tests::other_core()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    report::say(format_args!("{info}"));
    machine::exit(0x12)
}
