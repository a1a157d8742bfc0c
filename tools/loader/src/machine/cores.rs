//! Starting the other cores, and where they wait until the kernel wants them.
//!
//! All are reset, then all are started, so that they come up at the same time:
//! waiting for each in turn would take the longer the more are waiting already,
//! where an emulator runs them by turns. Each finds its own structure by its APIC
//! id and waits for an address to be written there. It waits by `pause`, at which
//! such an emulator goes on to the next core.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arrayvec::ArrayVec;
use loader::acpi::{self, Core};
use loader::memory_map::{Kind, PAGE};
use loader::{Result, direct_map};
use spin::Once;
use x86_64::{PhysAddr, VirtAddr};

use super::apic::LocalApic;
use super::entry::{enter_kernel, load_task_register, trampoline_code};
use super::memory::{Memory, pointer};
use super::mtrr::MemoryTypes;
use super::{Features, console};

/// More than an emulator runs with any use.
pub const MAX_CORES: usize = 1024;

/// How many pauses a core has to come up, before it is told again, and before it
/// is given up. It needs some hundred instructions; the rest is for an emulator
/// that has more cores than its host.
const PATIENCE: u32 = 10_000_000;

/// `limine_smp_info`: what the kernel and a waiting core share.
#[repr(C)]
pub struct CoreInfo {
    processor_id: AtomicU32,
    apic_id: AtomicU32,
    /// Reserved by the protocol. As in Limine, here is where the core's stack ends
    /// (in the direct map): not zero says that the core waits.
    stack_top: AtomicU64,
    /// Where the kernel wants the core; zero until then.
    goto_address: AtomicU64,
    /// The kernel's.
    extra_argument: AtomicU64,
}

impl CoreInfo {
    fn has_come(&self) -> bool {
        self.stack_top.load(Ordering::Acquire) != 0
    }
}

/// The stacks of the other cores. `other_core_entry` knows its layout.
#[repr(C)]
pub struct Stacks {
    /// Where the first begins.
    start: AtomicU64,
    /// Of each, in bytes.
    size: AtomicU64,
    /// How many have been taken.
    taken: AtomicU64,
}

/// See [`Stacks`].
pub static STACKS: Stacks = Stacks {
    start: AtomicU64::new(0),
    size: AtomicU64::new(0),
    taken: AtomicU64::new(0),
};

/// What the other cores need to know; there before they are started.
static SHARED: Once<Shared> = Once::new();

struct Shared {
    infos: &'static [CoreInfo],
    page_tables: PhysAddr,
    features: Features,
    memory_types: Option<MemoryTypes>,
    x2apic: bool,
    /// The MADT, if each core's local APIC is to be set up by it.
    pins: Option<&'static [u8]>,
}

/// How the other cores are started.
pub struct Plan {
    /// Which there are.
    pub madt: &'static [u8],
    /// Whether the kernel wants them in x2APIC mode, and firmware does not ask for the other.
    pub x2apic: bool,
    /// The base revision.
    pub base_revision: u64,
    /// The page tables that they enter the kernel on.
    pub page_tables: PhysAddr,
    /// How large each stack is, in bytes.
    pub stack_size: u64,
}

/// From this base revision on kernels find local APICs in a known state.
const SETS_UP_APICS: u64 = 5;

/// Brings the first core's local APIC into the state that the kernel is to find it in.
pub fn set_up_first_apic(madt: &[u8], base_revision: u64) {
    if base_revision < SETS_UP_APICS {
        return;
    }
    let apic = LocalApic::new(false);
    let id = apic.id();
    let core = acpi::cores(madt, apic.is_x2apic()).find(|core| core.apic_id == id);
    // What ACPI says of all cores holds for one that it does not list.
    apic.set_up(madt, core.map_or(u32::MAX, |core| core.processor_id));
}

/// The cores that wait, and the one that this runs on.
pub struct Started {
    /// Whether their local APICs are in x2APIC mode.
    pub x2apic: bool,
    /// The APIC id of the core that this runs on.
    pub first: u32,
    /// Where the structure of each is.
    pub places: ArrayVec<PhysAddr, MAX_CORES>,
}

/// Starts all cores that an MADT names, in x2APIC mode if that is wanted and the
/// processor has it; they wait. None, if the MADT names no cores.
pub fn start(memory: &mut Memory, features: Features, plan: &Plan) -> Result<Option<Started>> {
    let apic = LocalApic::new(plan.x2apic && features.x2apic);
    let (x2apic, first) = (apic.is_x2apic(), apic.id());
    let cores = acpi::cores(plan.madt, x2apic).take(MAX_CORES);
    let cores: ArrayVec<Core, MAX_CORES> = cores.collect();
    if cores.is_empty() {
        return Ok(None);
    }
    let (infos, start) = allocate_infos(memory, &cores)?;
    let others = infos
        .iter()
        .filter(|info| info.apic_id.load(Ordering::Relaxed) != first);
    let count = others.clone().count() as u64;
    if count > 0 {
        let size = plan.stack_size.next_multiple_of(PAGE);
        let stacks = memory.allocate(count * size, PAGE, Kind::BootloaderReclaimable)?;
        STACKS.start.store(stacks.start.as_u64(), Ordering::Relaxed);
        STACKS.size.store(size, Ordering::Relaxed);
        SHARED.call_once(|| Shared {
            infos,
            page_tables: plan.page_tables,
            features,
            // SAFETY: CPUID says that there are such registers.
            memory_types: features
                .memory_types
                .then(|| unsafe { MemoryTypes::read() }),
            x2apic,
            pins: (plan.base_revision >= SETS_UP_APICS).then_some(plan.madt),
        });
        let code = trampoline_code();
        let page = memory.allocate_low(PAGE)?;
        page.bytes[..code.len()].copy_from_slice(code);

        wake(&apic, others, page.start);
    }

    let mut places = ArrayVec::new();
    for (info, place) in infos
        .iter()
        .zip((0..).map(|n| start + n * size_of::<CoreInfo>() as u64))
    {
        let apic_id = info.apic_id.load(Ordering::Relaxed);
        if apic_id == first || info.has_come() {
            places.push(place);
        } else {
            console::say(format_args!(
                "core with APIC id {apic_id} did not start; going on"
            ));
        }
    }
    Ok(Some(Started {
        x2apic,
        first,
        places,
    }))
}

/// Starts cores at `page`, and waits until all have come.
fn wake<'a>(apic: &LocalApic, cores: impl Iterator<Item = &'a CoreInfo> + Clone, page: PhysAddr) {
    // SDM vol. 3, 9.4.4.1, without its delays, which are for chips of 1996: what this
    // runs on takes INIT at once, and a core that missed its start is told again.
    for info in cores.clone() {
        apic.init(info.apic_id.load(Ordering::Relaxed));
    }
    for _attempt in 0..2 {
        for info in cores.clone().filter(|info| !info.has_come()) {
            apic.start_up(info.apic_id.load(Ordering::Relaxed), page);
        }
        let mut patience = PATIENCE;
        while patience > 0 && !cores.clone().all(CoreInfo::has_come) {
            spin_loop();
            patience -= 1;
        }
    }
}

fn allocate_infos(memory: &mut Memory, cores: &[Core]) -> Result<(&'static [CoreInfo], PhysAddr)> {
    let size = cores.len() * size_of::<CoreInfo>();
    let block = memory.allocate(size as u64, PAGE, Kind::BootloaderReclaimable)?;
    block.bytes.fill(0);
    // SAFETY: memory that nobody else has, on a page, of this size; zeros are
    // numbers, and what may be shared with other cores is atomic.
    let infos = unsafe {
        core::slice::from_raw_parts(pointer::<CoreInfo>(block.start).cast_const(), cores.len())
    };
    for (info, core) in infos.iter().zip(cores) {
        info.processor_id
            .store(core.processor_id, Ordering::Relaxed);
        info.apic_id.store(core.apic_id, Ordering::Relaxed);
    }
    Ok((infos, block.start))
}

/// What another core runs, on its own stack, until the kernel wants it.
pub extern "C" fn other_core(stack_top: u64) -> ! {
    let shared = SHARED.wait();
    shared.features.enable();
    load_task_register();
    if let Some(memory_types) = &shared.memory_types {
        // SAFETY: they are the first core's.
        unsafe { memory_types.write() };
    }
    let apic = LocalApic::new(shared.x2apic);
    let apic_id = apic.id();
    let info = shared
        .infos
        .iter()
        .find(|info| info.apic_id.load(Ordering::Relaxed) == apic_id);
    let Some(info) = info else {
        console::fail("a core started that was not told to")
    };

    if let Some(madt) = shared.pins {
        apic.set_up(madt, info.processor_id.load(Ordering::Relaxed));
    }

    let stack_top = direct_map(PhysAddr::new(stack_top));
    info.stack_top.store(stack_top.as_u64(), Ordering::Release);
    let entry = loop {
        match info.goto_address.load(Ordering::Acquire) {
            0 => spin_loop(),
            address => break address,
        }
    };
    let info = direct_map(PhysAddr::new(VirtAddr::from_ptr(info).as_u64()));
    // SAFETY: the page tables are the kernel's, execution was configured above, the
    // stack is this core's, whose frames nobody returns to, and the kernel asked.
    unsafe { enter_kernel(stack_top, entry, shared.page_tables, info.as_u64()) }
}
