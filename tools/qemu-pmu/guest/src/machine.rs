//! The machine: ports, MSRs, descriptors, the local APIC, pages for user mode.

use core::arch::x86_64::__cpuid_count;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use spin::Once;
use x86_64::instructions::port::Port;
use x86_64::instructions::segmentation::{CS, SS, Segment as _};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::control::{Cr3, Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::idt::{Entry, EntryOptions, InterruptDescriptorTable};
use x86_64::structures::paging::{PageTable, PageTableFlags};
use x86_64::structures::tss::TaskStateSegment;
use x86_64::{PrivilegeLevel, VirtAddr};

use crate::code;
use crate::cores::MAX_CORES;

/// The selectors, in the order of [`load_descriptors`].
const KERNEL_CODE: SegmentSelector = SegmentSelector::new(1, PrivilegeLevel::Ring0);
const KERNEL_DATA: SegmentSelector = SegmentSelector::new(2, PrivilegeLevel::Ring0);
/// A selector of user data, as a number for assembly.
pub const USER_DATA: u16 = SegmentSelector::new(3, PrivilegeLevel::Ring3).0;
/// A selector of user code.
pub const USER_CODE: u16 = SegmentSelector::new(4, PrivilegeLevel::Ring3).0;

/// The vector that [`code::user_exit_entry`] serves.
const USER_EXIT: u8 = 0x80;
/// The vector of the performance interrupt that is not an NMI.
pub const OVERFLOW_VECTOR: u8 = 0x40;
/// The vector of the timer.
pub const WAKE_VECTOR: u8 = 0x41;

/// Physical: in the conventional memory of a PC.
const LOW_PAGE: u64 = 0x7000;

static DIRECT_MAP: AtomicU64 = AtomicU64::new(0);

/// Says where physical address zero is.
pub fn set_direct_map(offset: u64) {
    DIRECT_MAP.store(offset, Ordering::Relaxed);
}

fn direct<T>(physical: u64) -> *mut T {
    VirtAddr::new(DIRECT_MAP.load(Ordering::Relaxed) + physical).as_mut_ptr()
}

/// The low 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
pub const fn low(value: u64) -> u32 {
    value as u32
}

/// Reads an MSR that the machine has.
pub fn read_msr(msr: u32) -> u64 {
    // SAFETY: reading the registers that the tests name has no effect on memory.
    unsafe { Msr::new(msr).read() }
}

/// Writes an MSR of the PMU or the APIC.
pub fn write_msr(msr: u32, value: u64) {
    let mut msr = Msr::new(msr);
    // SAFETY: what the tests write makes interrupts, whose entries are in place.
    unsafe { msr.write(value) }
}

/// Whether writing an MSR is #GP.
pub fn write_faults(msr: u32, value: u64) -> bool {
    // SAFETY: as `write_msr`; a #GP comes back.
    unsafe { code::try_wrmsr(msr, value) != 0 }
}

/// What an MSR holds; none, if reading it is #GP.
pub fn try_read_msr(msr: u32) -> Option<u64> {
    let mut result = [0; 2];
    // SAFETY: reading has no effect on memory but on `result`; a #GP comes back.
    unsafe { code::try_rdmsr(msr, &mut result) };
    (result[1] == 0).then_some(result[0])
}

/// What a counter holds; none, if RDPMC is #GP.
pub fn try_read_counter(counter: u32) -> Option<u64> {
    let mut result = [0; 2];
    // SAFETY: as `try_read_msr`.
    unsafe { code::try_rdpmc(counter, &mut result) };
    (result[1] == 0).then_some(result[0])
}

/// The time stamp counter: under icount, instructions of all cores.
pub fn time() -> u64 {
    // SAFETY: RDTSC is there on every processor with long mode.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// EAX, EBX, ECX and EDX of a CPUID leaf.
pub fn cpuid(leaf: u32) -> [u32; 4] {
    let result = __cpuid_count(leaf, 0);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// This core's APIC id, which is its number.
pub fn core_number() -> usize {
    (cpuid(1)[1] >> 24) as usize
}

/// Writes a byte to the first serial port.
pub fn write_serial(byte: u8) {
    // SAFETY: the port's data register; QEMU's is never busy.
    unsafe { Port::new(0x3f8).write(byte) }
}

/// Ends QEMU with status `2 * value + 1`.
pub fn exit(value: u8) -> ! {
    // SAFETY: the device isa-debug-exit.
    unsafe { Port::new(0xf4).write(value) }
    loop {
        x86_64::instructions::hlt();
    }
}

// --- Descriptors ---------------------------------------------------------------

const NO_TSS: TaskStateSegment = TaskStateSegment::new();
/// Each core's, whose rsp0 assembly writes.
static mut TASK_STATES: [TaskStateSegment; MAX_CORES] = [NO_TSS; MAX_CORES];
static TABLES: [Once<GlobalDescriptorTable>; MAX_CORES] = [const { Once::new() }; MAX_CORES];
static INTERRUPTS: Once<InterruptDescriptorTable> = Once::new();

fn task_state(core: usize) -> *mut TaskStateSegment {
    // Without a reference: the processor reads it, assembly writes it.
    (&raw mut TASK_STATES)
        .cast::<TaskStateSegment>()
        .wrapping_add(core)
}

/// Where this core's rsp0 is.
pub fn kernel_stack_place() -> *mut u64 {
    // After the segment's first, reserved, four bytes.
    task_state(core_number())
        .cast::<u8>()
        .wrapping_add(4)
        .cast()
}

/// Gives this core its descriptors and lets user programs use RDPMC.
pub fn load_descriptors() {
    let core = core_number();
    let table = TABLES[core].call_once(|| {
        let mut table = GlobalDescriptorTable::new();
        table.append(Descriptor::kernel_code_segment());
        table.append(Descriptor::kernel_data_segment());
        table.append(Descriptor::user_data_segment());
        table.append(Descriptor::user_code_segment());
        // SAFETY: the static lives as long as the table.
        table.append(unsafe { Descriptor::tss_segment_unchecked(task_state(core)) });
        table
    });
    table.load();
    // SAFETY: it is code in the table that was loaded.
    unsafe { CS::set_reg(KERNEL_CODE) };
    // SAFETY: it is data there.
    unsafe { SS::set_reg(KERNEL_DATA) };
    // SAFETY: the task state is this core's alone.
    unsafe { load_tss(SegmentSelector::new(5, PrivilegeLevel::Ring0)) };
    INTERRUPTS.call_once(interrupts).load();
    let_user_read_counters(true);
}

fn interrupts() -> InterruptDescriptorTable {
    fn set<F>(entry: &mut Entry<F>, code: unsafe extern "C" fn()) -> &mut EntryOptions {
        // SAFETY: an entry in assembly, which returns by IRETQ or not at all.
        unsafe { entry.set_handler_addr(VirtAddr::from_ptr(code as *const ())) }
    }
    let mut table = InterruptDescriptorTable::new();
    set(&mut table.divide_error, code::unexpected_entry);
    set(&mut table.invalid_opcode, code::unexpected_entry);
    set(&mut table.stack_segment_fault, code::unexpected_entry);
    set(&mut table.page_fault, code::unexpected_entry);
    set(&mut table.double_fault, code::unexpected_entry);
    set(&mut table.general_protection_fault, code::protection_entry);
    set(&mut table.non_maskable_interrupt, code::overflow_entry);
    set(&mut table[OVERFLOW_VECTOR], code::overflow_entry);
    set(&mut table[WAKE_VECTOR], code::wake_entry);
    set(&mut table[USER_EXIT], code::user_exit_entry).set_privilege_level(PrivilegeLevel::Ring3);
    table
}

/// Sets CR4.PCE.
pub fn let_user_read_counters(yes: bool) {
    // SAFETY: the bit lets RDPMC work in user mode, no more.
    unsafe { Cr4::update(|flags| flags.set(Cr4Flags::PERFORMANCE_MONITOR_COUNTER, yes)) }
}

// --- User mode -------------------------------------------------------------------

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
}

/// Lets user mode have the guest's own pages. The first core, once.
pub fn open_image_to_user() {
    let start = (&raw const __image_start) as u64;
    let end = (&raw const __image_end) as u64;
    for address in (start..end).step_by(4096).map(VirtAddr::new) {
        let mut table = Cr3::read().0.start_address().as_u64();
        for index in [
            address.p4_index(),
            address.p3_index(),
            address.p2_index(),
            address.p1_index(),
        ] {
            // SAFETY: the boot loader's page tables, which it mapped, and which
            // only this core looks at now.
            let entry = unsafe { &mut (&mut *direct::<PageTable>(table))[index] };
            entry.set_flags(entry.flags() | PageTableFlags::USER_ACCESSIBLE);
            if entry.flags().contains(PageTableFlags::HUGE_PAGE) {
                break;
            }
            table = entry.addr().as_u64();
        }
    }
    flush_translations();
}

/// Forgets what was read from the page tables before.
pub fn flush_translations() {
    x86_64::instructions::tlb::flush_all();
}

// --- The local APIC ----------------------------------------------------------------

const APIC_BASE: u32 = 0x1b;
const APIC_BASE_X2APIC: u64 = 1 << 10;
const SPURIOUS: u32 = 0xf0;
const END_OF_INTERRUPT: u32 = 0xb0;
const COMMAND: u32 = 0x300;
const LVT_TIMER: u32 = 0x320;
const LVT_PERFORMANCE: u32 = 0x340;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_DIVIDE: u32 = 0x3e0;

/// The mask bit of an entry of the local vector table.
pub const LVT_MASKED: u32 = 1 << 16;
/// The delivery mode NMI.
pub const LVT_NMI: u32 = 4 << 8;

/// Whether this core's APIC is in x2APIC mode.
pub fn is_x2apic() -> bool {
    read_msr(APIC_BASE) & APIC_BASE_X2APIC != 0
}

fn apic_register(register: u32) -> *mut u32 {
    direct::<u32>(0xfee0_0000 + u64::from(register))
}

/// Writes a register of this core's APIC, by its offset.
pub fn write_apic(register: u32, value: u32) {
    if is_x2apic() {
        write_msr(0x800 + register / 16, u64::from(value));
    } else {
        // SAFETY: the APIC's page, in the boot loader's direct map.
        unsafe { apic_register(register).write_volatile(value) }
    }
}

/// Reads a register of this core's APIC, by its offset.
pub fn read_apic(register: u32) -> u32 {
    if is_x2apic() {
        low(read_msr(0x800 + register / 16))
    } else {
        // SAFETY: as above.
        unsafe { apic_register(register).read_volatile() }
    }
}

/// Enables this core's APIC.
pub fn enable_apic() {
    write_apic(SPURIOUS, 0x1ff);
}

/// The entry for performance interrupts.
pub fn performance_entry() -> u32 {
    read_apic(LVT_PERFORMANCE)
}

/// Sets the entry for performance interrupts.
pub fn set_performance_entry(entry: u32) {
    write_apic(LVT_PERFORMANCE, entry);
}

/// Ends an interrupt that was no NMI.
pub fn end_interrupt() {
    write_apic(END_OF_INTERRUPT, 0);
}

/// Lets the timer interrupt once, in so many nanoseconds.
pub fn wake_in(nanoseconds: u32) {
    write_apic(TIMER_DIVIDE, 0xb);
    write_apic(LVT_TIMER, u32::from(WAKE_VECTOR));
    write_apic(TIMER_INITIAL, nanoseconds);
}

/// A page of physical memory below 1 MiB, as words of 32 bits, on which a core can
/// begin in real mode. The boot loader does not need it any more, and nothing else
/// is there.
pub fn low_page() -> &'static [AtomicU32; 1024] {
    // SAFETY: memory that the direct map has, and that nobody else uses.
    unsafe { &*direct::<[AtomicU32; 1024]>(LOW_PAGE) }
}

/// Sends INIT to a core.
pub fn init(core: u32) {
    send(core, 0x4500);
}

/// Starts a core on [`low_page`].
pub fn start_up(core: u32) {
    send(core, 0x4600 | low(LOW_PAGE >> 12));
}

fn send(core: u32, command: u32) {
    if is_x2apic() {
        write_msr(0x830, u64::from(core) << 32 | u64::from(command));
    } else {
        write_apic(COMMAND + 0x10, core << 24);
        write_apic(COMMAND, command);
    }
}

#[unsafe(no_mangle)]
extern "C" fn wake() {
    end_interrupt();
}

/// Lets maskable interrupts come, or not.
pub fn enable_interrupts(yes: bool) {
    if yes {
        x86_64::instructions::interrupts::enable();
    } else {
        x86_64::instructions::interrupts::disable();
    }
}

#[unsafe(no_mangle)]
extern "C" fn unexpected_exception(first: u64, second: u64) -> ! {
    crate::report::say(format_args!(
        "unexpected exception on core {}: stack {first:#x} {second:#x}",
        core_number()
    ));
    exit(0x12);
}
