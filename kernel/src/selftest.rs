//! Ways to go wrong on purpose, for the tests that watch how the kernel ends:
//! `test=NAME` on the command line runs one of them in place of a workload.
//!
//! Most do it before sampling begins; those called `…-midway` are workloads that
//! are sampled for a while first. `interrupts-above`, `foreign-nmis`, `chains-alike`, `spaces`,
//! `profile-in-kernel` and `process-…` are sampled, and all is well.

mod founding;
mod last_words;
mod monitor;
mod process;
mod profile;
mod space;
mod watch;

use core::arch::{asm, naked_asm};
use core::fmt;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use profiler::entry::nmi;
use profiler::hw::debug;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::{self, hlt, tables};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr2, Cr4, Cr4Flags};
use x86_64::registers::model_specific::{Efer, EferFlags};
use x86_64::registers::rflags::RFlags;
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::idt::InterruptDescriptorTable;

use crate::boot::entry::CoreMain;
use crate::cpu::apic::{self, Destination, LocalInterrupt, Message};
use crate::cpu::descriptors::InterruptStack;
use crate::cpu::features::Features;
use crate::cpu::{self, CoreBlock, control, stop};
use crate::exit::{self, ExitCode};
use crate::memory::image;
use crate::memory::stacks::{self, StackKind};
use crate::smp;
use crate::trap::{self, vector};
use crate::workload::scratch::Scratch;
use crate::workload::{Workload, arithmetic};

/// A self-test, and what it is called.
type Test = (&'static str, fn());

/// Tests that are sampled, most of them before they go wrong.
static SAMPLED: [Workload; 19] = [
    Workload::new("interrupts-above", interrupts_above),
    Workload::new("foreign-nmis", foreign_nmis),
    Workload::new("chains-alike", |scratch| descend(scratch.seed(), 10)),
    Workload::new("profile-in-kernel", profile::unit),
    Workload::process("process-faults", process::faults),
    Workload::process("process-registers", process::registers),
    Workload::process("process-vectors", process::vectors),
    Workload::process("process-stale", process::stale),
    Workload::process("process-children", process::children),
    Workload::new("spaces", space::unit),
    Workload::new("panic-midway", |scratch| {
        midway(scratch, || panic!("this panic was asked for"));
    }),
    Workload::new("stack-overflow-midway", |scratch| {
        midway(scratch, stack_overflow)
    }),
    Workload::new("overflow-kernel-midway", |scratch| {
        midway(scratch, || overflow(StackKind::Kernel));
    }),
    Workload::new("overflow-nmi-handler-midway", |scratch| {
        midway(scratch, || overflow(StackKind::NmiHandler));
    }),
    Workload::new("hang-midway", |scratch| midway(scratch, hang_unsampled)),
    Workload::new("fault-in-handler-midway", |scratch| {
        midway(scratch, fault_in_handler);
    }),
    Workload::new("merged-stop-midway", merged_stop),
    Workload::new("hang-on-lock-midway", |scratch| {
        watch::hang_on_lock(scratch, HALF_WAY);
    }),
    Workload::new("triple-fault-midway", |scratch| {
        midway(scratch, triple_fault);
    }),
];

/// Units of a test that is sampled before it goes wrong.
const HALF_WAY: u64 = 20;

const TESTS: &[Test] = &[
    ("nothing", || {}),
    ("panic", || panic!("this panic was asked for")),
    ("panic-in-panic", panic_in_panic),
    ("trap-in-panic", trap_in_panic),
    ("trap-in-log", trap_in_log),
    ("stuck-log", stuck_log),
    ("page-fault", page_fault),
    ("write-text", write_text),
    ("execute-data", execute_data),
    ("stack-overflow", stack_overflow),
    ("overflow-kernel", || overflow(StackKind::Kernel)),
    ("overflow-nmi", || overflow(StackKind::Nmi)),
    ("overflow-nmi-handler", || overflow(StackKind::NmiHandler)),
    ("overflow-debug", || overflow(StackKind::Debug)),
    ("overflow-machine-check", || {
        overflow(StackKind::MachineCheck)
    }),
    ("overflow-double-fault", || overflow(StackKind::DoubleFault)),
    ("overflow-elsewhere", overflow_elsewhere),
    ("canary", overwrite_canary),
    ("double-fault", double_fault),
    ("triple-fault", triple_fault),
    ("breakpoint", instructions::interrupts::int3),
    ("breakpoint-elsewhere", breakpoint_elsewhere),
    ("stray-interrupt", stray_interrupt),
    ("apic-error", apic_error),
    ("nmi-keeps-cr2", nmi_keeps_cr2),
    ("nmi-anywhere", nmi_anywhere),
    ("nmi-on-landing", nmi_on_landing),
    ("control-registers", control_registers),
    ("hang", hang),
    ("founding-bug", founding::founding_bug),
];

/// All tests that are not sampled.
fn all() -> impl Iterator<Item = &'static Test> {
    let others = last_words::TESTS.iter().chain(monitor::TESTS);
    let others = others
        .chain(watch::TESTS)
        .chain(space::TESTS)
        .chain(process::TESTS);
    TESTS.iter().chain(others)
}

/// Runs the self-test called `name`, or gives it if it is to be sampled. If there
/// is none, ends the run and says which there are.
pub fn run_or_refuse(name: &str) -> &'static Workload {
    if let Some(test) = SAMPLED.iter().find(|test| test.name == name) {
        return test;
    }
    let mut tests = all();
    let Some((_, test)) = tests.find(|(known, _)| *known == name) else {
        let problem = format_args!("command line: `test={name}`: no such test; there are: {Names}");
        exit::refuse(ExitCode::BadCommandLine, "", &problem)
    };
    log::info!("self-test: {name}");
    test();
    stacks::assert_canaries();
    exit::exit(ExitCode::Success)
}

/// All tests, for a message.
struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = all().map(|(name, _)| *name);
        let all = names.chain(SAMPLED.iter().map(|test| test.name));
        all.enumerate().try_for_each(|(index, name)| {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}")
        })
    }
}

/// A unit of ordinary work; the last core goes wrong after [`HALF_WAY`] of them.
fn midway(scratch: &mut Scratch, go_wrong: fn()) {
    arithmetic::unit(scratch);
    let is_last = scratch.core as usize == cpu::cores().len() - 1;
    if is_last && scratch.round == HALF_WAY {
        go_wrong();
    }
}

/// A unit of ordinary work, and for each other core an interrupt that is taken before any of
/// the sampler's.
fn interrupts_above(scratch: &mut Scratch) {
    const VECTOR: u8 = 0xf9;
    static HANDLER: Once<()> = Once::new();
    HANDLER.call_once(|| trap::register(VECTOR, |_| apic::registers().end_of_interrupt()));
    arithmetic::unit(scratch);
    for core in cpu::cores().iter().filter(|it| it.index != scratch.core) {
        let core = Destination::Core(core.apic_id);
        // SAFETY: the vector has a handler.
        unsafe { apic::registers().send(Message::Fixed(VECTOR), core) };
    }
}

/// Work, and NMIs in it that nobody has asked for, as of a button or a parity error.
fn foreign_nmis(scratch: &mut Scratch) {
    let this = Destination::Core(cpu::current().apic_id);
    for round in 1..=16 {
        black_box(arithmetic::shift(scratch.seed() + round, 100));
        // SAFETY: there is a gate for it.
        unsafe { apic::registers().send(Message::Nmi, this) };
    }
}

/// Calls itself `depth` times, each time from one of two places: by a bit of `path`. Chains are of
/// one length, and many differ in their outermost callers alone.
#[inline(never)]
fn descend(path: u64, depth: u32) {
    if depth == 0 {
        black_box(arithmetic::shift(path, 100));
    } else if path & 1 == 0 {
        descend(path >> 1, depth - 1);
        keep_apart::<0>();
    } else {
        keep_apart::<1>();
        descend(path >> 1, depth - 1);
        keep_apart::<2>();
    }
}

/// Makes calls before and behind it none that the compiler can take for the same.
#[inline(always)]
fn keep_apart<const PLACE: u32>() {
    // SAFETY: does nothing.
    unsafe { asm!("test eax, {}", const PLACE, options(nomem, nostack)) };
}

/// A core that nothing interrupts any more: its source is off, as are interrupts.
fn hang_unsampled() {
    instructions::interrupts::disable();
    // SAFETY: a masked entry delivers nothing.
    unsafe { apic::registers().quieten(LocalInterrupt::Timer, apic::ERROR) };
    hang();
}

unsafe extern "C" {
    // Where the sampler's fast handlers are once they have claimed an overflow of a timer, and
    // where that of counters begins.
    fn pmiscope_fast_claimed_nmi();
    fn pmiscope_fast_claimed_irq();
    fn pmiscope_fast_one_xapic_status_nmi();
}

/// The fast handlers have an invalid opcode from here on, and the interrupted code has values in its
/// registers by which they are known.
fn fault_in_handler() {
    let places = [
        pmiscope_fast_claimed_nmi as *const (),
        pmiscope_fast_claimed_irq as *const (),
        pmiscope_fast_one_xapic_status_nmi as *const (),
    ];
    // SAFETY: not safe at all: code can be written to, which is the test's way.
    unsafe { Cr0::write(Cr0::read() - Cr0Flags::WRITE_PROTECT) };
    // SAFETY: not safe at all: `ud2` in the place of other instructions, which is the test.
    unsafe {
        asm!(
            "mov rbx, 0x1b1b1b1b1b",
            "mov rsi, 0x5151515151",
            "mov r8, 0x0808080808",
            "mov r9, 0x0909090909",
            "mov r10, 0x1010101010",
            "mov r11, 0x1111111111",
            "mov r12, 0x1212121212",
            "mov r13, 0x1313131313",
            "mov r14, 0x1414141414",
            "mov r15, 0x1515151515",
            "mov word ptr [rax], 0x0b0f",
            "mov word ptr [rcx], 0x0b0f",
            "mov word ptr [rdx], 0x0b0f",
            "2:",
            "jmp 2b",
            in("rax") places[0],
            in("rcx") places[1],
            in("rdx") places[2],
            options(noreturn),
        )
    };
}

/// The last core keeps NMIs blocked until the one before it, which then panics, has sent it the one
/// to stop. An overflow's has come by then as well, and the two are one.
fn merged_stop(scratch: &mut Scratch) {
    arithmetic::unit(scratch);
    let behind = cpu::cores().len() - 1 - scratch.core as usize;
    if behind == 0 && scratch.round == HALF_WAY {
        block_nmis_until_stop();
        log::error!("an NMI to stop has been lost");
    }
    assert!(
        behind != 1 || !IS_BLOCKING.load(Ordering::Acquire),
        "this panic was asked for"
    );
}

/// NMIs are blocked on a core.
static IS_BLOCKING: AtomicBool = AtomicBool::new(false);

/// What leads to the core's own gates.
static OWN_GATES: AtomicPtr<DescriptorTablePointer> = AtomicPtr::new(core::ptr::null_mut());

/// Takes an NMI that does not end before this core is to stop, and whatever became pending
/// meanwhile.
fn block_nmis_until_stop() {
    static OWN: Once<DescriptorTablePointer> = Once::new();
    static OTHERS: Once<InterruptDescriptorTable> = Once::new();
    let own = OWN.call_once(tables::sidt);
    OWN_GATES.store(core::ptr::from_ref(own).cast_mut(), Ordering::Relaxed);
    let others = OTHERS.call_once(|| {
        // SAFETY: the table that is in use: 256 gates, which nothing changes.
        let mut table = unsafe { (*own.base.as_ptr::<InterruptDescriptorTable>()).clone() };
        let entry = VirtAddr::from_ptr(wait_for_stop as *const ());
        // SAFETY: that keeps all registers.
        let gate = unsafe { table.non_maskable_interrupt.set_handler_addr(entry) };
        // SAFETY: the stack is that of the gate it replaces.
        unsafe { gate.set_stack_index(InterruptStack::Nmi as u16 - 1) };
        table
    });
    // SAFETY: it lives for ever, and its other gates are the core's own.
    unsafe { others.load_unsafe() };
    let this = Destination::Core(cpu::current().apic_id);
    // SAFETY: there is a gate for it.
    unsafe { apic::registers().send(Message::Nmi, this) };
    while !IS_BLOCKING.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
}

/// The handler of the NMI. It waits for about a period once another core ends the run, since
/// the NMI to stop is sent behind that.
#[unsafe(naked)]
extern "C" fn wait_for_stop() {
    naked_asm!(
        "push rax",
        "push rcx",
        "push rdx",
        "mov byte ptr [rip + {is_blocking}], 1",
        "2:",
        "pause",
        "cmp byte ptr [rip + {is_stopping}], 0",
        "je 2b",
        "rdtsc",
        "mov ecx, eax",
        "3:",
        "rdtsc",
        "sub eax, ecx",
        "cmp eax, 350000",
        "jb 3b",
        "mov rax, [rip + {own_gates}]",
        "lidt [rax]",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "iretq",
        is_blocking = sym IS_BLOCKING,
        is_stopping = sym stop::REQUEST,
        own_gates = sym OWN_GATES,
    )
}

struct PanicsWhenShown;

impl core::fmt::Display for PanicsWhenShown {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        panic!("this panic in a panic was asked for")
    }
}

fn panic_in_panic() {
    panic!("{PanicsWhenShown}");
}

struct FaultsWhenShown;

impl core::fmt::Display for FaultsWhenShown {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        page_fault();
        Ok(())
    }
}

fn trap_in_panic() {
    panic!("{FaultsWhenShown}");
}

/// The core that reports the trap is the one that holds the serial port.
fn trap_in_log() {
    log::info!("{FaultsWhenShown}");
}

/// A core hangs while it writes a line.
static HANGS: AtomicBool = AtomicBool::new(false);

struct HangsWhenShown;

impl core::fmt::Display for HangsWhenShown {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        HANGS.store(true, Ordering::Release);
        hang();
        Ok(())
    }
}

/// The last core, of two or more, dies with the serial port in its hands; this one
/// has something to say.
fn stuck_log() {
    let last = cpu::cores().last().expect("there is a first core");
    smp::give(last, || log::info!("{HangsWhenShown}"));
    while !HANGS.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    log::info!("said all the same");
}

fn page_fault() {
    let nowhere: *const u64 = core::ptr::without_provenance(0xdead_0000);
    // SAFETY: not safe at all: nothing is mapped there, which is the test.
    black_box(unsafe { nowhere.read_volatile() });
}

fn write_text() {
    let text: *mut u8 = image::text().start.as_mut_ptr();
    // SAFETY: not safe at all: read-only pages, which is the test.
    unsafe { text.write_volatile(0xcc) };
}

fn execute_data() {
    /// `ret`, if it were executed.
    static DATA: u8 = 0xc3;
    // SAFETY: not safe at all: the byte is not executable, which is the test.
    unsafe { asm!("call {}", in(reg) &raw const DATA, clobber_abi("C")) };
}

fn stack_overflow() {
    #[expect(unconditional_recursion, reason = "it is the test")]
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 16]);
        deeper(depth + 1) + frame[0]
    }
    black_box(deeper(0));
}

unsafe extern "C" {
    /// The root of stacks: see [`crate::boot::entry`].
    fn enter_stack(core: u64, stack_top: u64, main: CoreMain) -> !;
}

/// Goes on at the top of another of the core's stacks, as code does that an
/// interrupt has put there, and overflows that.
///
/// For the double fault's that works as well: each double fault begins at the top of
/// its stack again, whatever was on it. What no handler sees is a double fault that
/// finds no stack at all, see [`triple_fault`].
fn overflow(kind: StackKind) {
    extern "C" fn main(_: &'static CoreBlock) -> ! {
        stack_overflow();
        unreachable!("a stack without an end");
    }
    let core = cpu::current();
    instructions::interrupts::disable();
    let top = core.stack(kind).entry().as_u64();
    // SAFETY: not safe at all, which is the test; but only once the stack has
    // overflowed. Until then: it is mapped and this core's, and what was on it or on
    // the running one is not gone on with. Maskable interrupts are off; an NMI finds
    // its place below what is in use, as in an NMI's handler.
    unsafe { enter_stack(core.this.as_u64(), top, main) }
}

/// On the last core, so that the report has to name another than the first.
fn overflow_elsewhere() {
    let last = cpu::cores().last().expect("there is a first core");
    smp::give(last, || overflow(StackKind::NmiHandler));
    smp::idle();
}

/// No trap finds its gate: the processor gives up, and the machine is reset.
fn triple_fault() {
    let none = DescriptorTablePointer {
        limit: 0,
        base: VirtAddr::zero(),
    };
    // SAFETY: not safe at all: no trap can be handled any more, which is the test.
    unsafe { asm!("lidt [{}]", "int3", in(reg) &raw const none, options(noreturn)) };
}

fn overwrite_canary() {
    let stack = cpu::current().stack(StackKind::Debug);
    let low: *mut u64 = stack.low.as_mut_ptr();
    // SAFETY: mapped, and nothing but the canary is there.
    unsafe { low.write_volatile(0) };
}

/// A breakpoint with nowhere to push its frame: the stack pointer is no address.
fn double_fault() {
    // SAFETY: not safe at all: the stack is gone, which is the test.
    unsafe { asm!("mov rsp, {}", "int3", in(reg) 0x0dea_d000_0000_0000_u64, options(noreturn)) };
}

/// On the last core, so that the report has to name another than the first.
fn breakpoint_elsewhere() {
    let last = cpu::cores().last().expect("there is a first core");
    smp::give(last, instructions::interrupts::int3);
    smp::idle();
}

/// An interrupt that nobody has a handler for, and that nothing has left pending.
fn stray_interrupt() {
    // SAFETY: no memory is touched. The run ends there, which is the test.
    unsafe { asm!("int 0x31") };
}

/// Three commands with an illegal vector, of which the APIC complains.
fn apic_error() {
    for _ in 0..3 {
        // SAFETY: not safe at all: no such vector is delivered, which is the test.
        unsafe { apic::registers().send(Message::Fixed(5), Destination::This) };
    }
}

/// An exception in the NMI handler changes CR2, as a page fault there would.
fn nmi_keeps_cr2() {
    const BEFORE: u64 = 0x1234_5000;
    static HIT: AtomicBool = AtomicBool::new(false);
    trap::register(vector::DEBUG, |frame| {
        HIT.store(true, Ordering::Relaxed);
        write_cr2(0xdead_0000);
        frame.rflags |= RFlags::RESUME_FLAG.bits();
    });
    write_cr2(BEFORE);
    debug::set_breakpoint(nmi::call());
    // SAFETY: the gate's handler returns.
    unsafe { asm!("int 2") };
    debug::clear_breakpoint();
    assert!(HIT.load(Ordering::Relaxed), "no exception in the handler");
    assert_eq!(Cr2::read_raw(), BEFORE, "CR2 after an NMI");
}

fn write_cr2(value: u64) {
    // SAFETY: no page fault is being handled, so it is not read.
    unsafe { asm!("mov cr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}

/// An NMI, and the interrupts that follow it, while the stack pointer is no
/// address: as in code that switches stacks, only longer.
fn nmi_anywhere() {
    let me = cpu::current();
    let before = me.unclaimed_nmis.load(Ordering::Relaxed);
    instructions::interrupts::without_interrupts(|| {
        // SAFETY: nothing uses the stack in between, and the NMI has one of its own.
        unsafe {
            asm!(
                "mov {stack}, rsp",
                "mov {frame}, rbp",
                "mov rsp, {nowhere}",
                "mov rbp, rsp",
                "int 2",
                "mov rsp, {stack}",
                "mov rbp, {frame}",
                stack = out(reg) _,
                frame = out(reg) _,
                nowhere = in(reg) 0x0dea_d000_0000_0000_u64,
            );
        };
    });
    let taken = me.unclaimed_nmis.load(Ordering::Relaxed) - before;
    assert_eq!(taken, 1, "NMIs that were counted");
}

/// An NMI where another one is on its landing, by the stack pointer.
fn nmi_on_landing() {
    // Where the stack pointer is when the landing is left, below the core's block.
    let last = cpu::current().stack(StackKind::Nmi).high - 8;
    instructions::interrupts::disable();
    // SAFETY: the NMI's entry does not return to here.
    unsafe { asm!("mov rsp, {}", "int 2", "ud2", in(reg) last.as_u64(), options(noreturn)) };
}

/// What a boot loader has left in control registers goes.
fn control_registers() {
    let wanted = || (Cr0::read_raw(), Cr4::read_raw(), Efer::read_raw());
    let before = wanted();
    // SAFETY: nothing here has floating point or unaligned words of a user's.
    unsafe {
        Cr0::write_raw(before.0 | (Cr0Flags::TASK_SWITCHED | Cr0Flags::ALIGNMENT_MASK).bits())
    };
    // SAFETY: breakpoints on ports are not used, nor is SSE.
    unsafe {
        Cr4::write_raw(before.1 | (Cr4Flags::DEBUGGING_EXTENSIONS | Cr4Flags::OSFXSR).bits())
    };
    // SAFETY: there is no `syscall`.
    unsafe { Efer::write_raw(before.2 | EferFlags::SYSTEM_CALL_EXTENSIONS.bits()) };
    assert_ne!(wanted(), before, "nothing was left");
    control::set(Features::get());
    assert_eq!(wanted(), before, "CR0, CR4 and EFER");
}

fn hang() {
    loop {
        hlt();
    }
}
