//! The tests, in the order in which they run.

use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;

use crate::code::{self, UserRun};
use crate::cores;
use crate::ibs;
use crate::machine::{self, read_msr, try_read_counter, try_read_msr, write_faults, write_msr};
use crate::model::{
    COUNTER_MASK, Counter, EDGE, ENABLE, Expected, FIXED_CTRL, FREEZE, INSTRUCTIONS, INTERRUPT,
    INVERT, KERNEL, Model, Switch, USER, counter_mask,
};
use crate::report::{equal, say, test};
use crate::sampling::{self, SAMPLES, Setup};

static EXPECTED: Once<Expected> = Once::new();

/// What the command line says.
pub fn expected() -> &'static Expected {
    EXPECTED.wait()
}

/// All tests.
pub fn first_core(on_command_line: &Expected) {
    let expected = EXPECTED.call_once(|| *on_command_line);
    let model = &expected.model;
    say(format_args!(
        "# {}, {} cores, {}",
        model.name,
        cores::count(),
        if machine::is_x2apic() {
            "x2APIC"
        } else {
            "xAPIC"
        }
    ));
    at_reset(model);
    identity(model);
    refusals(model);
    counting(model);
    stopping(model);
    faulting(model);
    repeating(model);
    modifiers(model);
    wrapping(model);
    writing(model);
    privilege(model);
    reading_in_user_mode();
    status(model);
    freezing(expected);
    together(expected);
    at_the_last_moment(expected);
    halting(expected);
    ibs::all(expected);
    sampling_on_all_cores();
    after_init(model);
    for core in 0..cores::count() {
        let trace = sampling::run(core).trace();
        say(format_args!("# trace of core {core}: {trace:016x}"));
    }
}

/// The part of the tests that all cores take part in.
pub fn other_core() -> ! {
    EXPECTED.wait();
    sampling_on_all_cores();
    if machine::core_number() == RESTARTED {
        spin(&expected().model);
    }
    loop {
        x86_64::instructions::hlt();
    }
}

/// The core that gets an INIT.
const RESTARTED: usize = 1;
static TURNS_OF_SPIN: AtomicU64 = AtomicU64::new(0);

fn spin(model: &Model) -> ! {
    model.clear();
    let switch = model.prepare(Counter::General(0), INSTRUCTIONS | KERNEL);
    // SAFETY: the MSR is the PMU's; the turns are in a static.
    unsafe { code::start_then_spin(switch.msr, switch.on, &raw const TURNS_OF_SPIN) }
}

/// INIT leaves the PMU as it is: the counter goes on, and has counted nothing that
/// was not executed.
fn after_init(model: &Model) {
    let Some(core) = u32::try_from(RESTARTED)
        .ok()
        .filter(|_| cores::count() > RESTARTED)
    else {
        return;
    };
    let page = machine::low_page();
    let write = |offset: usize, word: u32| page[offset / 4].store(word, Ordering::Relaxed);
    let result = |n: usize| page[code::REAL_MODE_RESULT / 4 + n].load(Ordering::Acquire);
    for (n, bytes) in code::real_mode_code().chunks(4).enumerate() {
        let mut word = [0; 4];
        word[..bytes.len()].copy_from_slice(bytes);
        write(4 * n, u32::from_le_bytes(word));
    }
    write(code::REAL_MODE_MSR, model.counter(Counter::General(0)));
    write(code::REAL_MODE_OTHER_MSR, model.select(0));
    write(code::REAL_MODE_RESULT + 12, 0);
    while TURNS_OF_SPIN.load(Ordering::Relaxed) < 100_000 {
        core::hint::spin_loop();
    }
    machine::init(core);
    machine::start_up(core);
    while result(3) == 0 {
        core::hint::spin_loop();
    }
    // INIT came in a turn, or between two.
    let spun = 2 * TURNS_OF_SPIN.load(Ordering::Relaxed) + code::REAL_MODE_LEAD;
    let counted = u64::from(result(0));
    test(
        counted == spun || counted + 1 == spun,
        format_args!("counted over INIT: {counted}, executed {spun} or one less"),
    );
    let between = result(1).wrapping_sub(result(0));
    equal(
        format_args!("counts on after INIT"),
        between,
        code::REAL_MODE_BETWEEN,
    );
    let select = u64::from(result(2));
    equal(
        format_args!("event select after INIT"),
        select,
        INSTRUCTIONS | KERNEL | ENABLE,
    );
}

fn at_reset(model: &Model) {
    if model.has_global() {
        let generals = (1 << model.generals) - 1;
        let control = read_msr(model.global_ctrl());
        equal(format_args!("global control at reset"), control, generals);
        equal(
            format_args!("status at reset"),
            read_msr(model.global_status()),
            0,
        );
    }
    let registers = model.counters().map(|counter| match counter {
        Counter::General(n) => read_msr(model.select(n)) | read_msr(model.counter(counter)),
        Counter::Fixed(_) => read_msr(FIXED_CTRL) | read_msr(model.counter(counter)),
    });
    let all = registers.fold(0, |all, register| all | register);
    equal(format_args!("other registers at reset"), all, 0);
}

fn identity(model: &Model) {
    let [_, b, c, d] = machine::cpuid(0);
    let vendor: &[u32; 3] = if model.is_intel() {
        &[0x756e_6547, 0x4965_6e69, 0x6c65_746e]
    } else {
        &[0x6874_7541, 0x6974_6e65, 0x444d_4163]
    };
    equal(format_args!("vendor"), [b, d, c], *vendor);
    test(
        machine::cpuid(0)[0] >= 0xa || !model.is_intel(),
        format_args!("leaf 0Ah is within the maximum"),
    );
    let v5 = model.version >= 5;
    let leaf = if model.is_intel() {
        let events = if v5 { 8 } else { 7 };
        let fixed = if v5 { 0xf } else { 0 };
        [
            model.version | model.generals << 8 | 48 << 16 | events << 24,
            0x78,
            fixed,
            model.fixed | 48 << 5 | u32::from(v5) << 15,
        ]
    } else {
        [0; 4]
    };
    equal(format_args!("leaf 0Ah"), machine::cpuid(0xa), leaf);
    let pdcm = machine::cpuid(1)[2] & 1 << 15 != 0;
    equal(format_args!("PDCM"), pdcm, model.full_width);
    let core_ext = machine::cpuid(0x8000_0001)[2] & 1 << 23 != 0;
    equal(format_args!("PerfCtrExtCore"), core_ext, model.core_ext);
    let v2 = !model.is_intel() && model.version == 2;
    let has_leaf = machine::cpuid(0x8000_0000)[0] >= 0x8000_0022;
    let [a, b, ..] = if has_leaf {
        machine::cpuid(0x8000_0022)
    } else {
        [0; 4]
    };
    let expected = if v2 { (1, model.generals) } else { (0, 0) };
    equal(format_args!("leaf 80000022h"), (a & 1, b & 0xf), expected);
    if model.is_intel() {
        let capabilities = try_read_msr(0x345);
        let expected = model.full_width.then_some(0x2000);
        equal(
            format_args!("IA32_PERF_CAPABILITIES"),
            capabilities,
            expected,
        );
        let enabled = read_msr(0x1a0) & (1 << 7 | 1 << 11 | 1 << 12);
        equal(
            format_args!("IA32_MISC_ENABLE"),
            enabled,
            1 << 7 | 1 << 11 | 1 << 12,
        );
    }
}

/// A write that has to be #GP.
fn faults(name: &str, msr: u32, value: u64) {
    test(
        write_faults(msr, value),
        format_args!("#GP: {name} ({msr:#x} <- {value:#x})"),
    );
}

/// A register that has to be missing.
fn missing(name: &str, msr: u32) {
    let reads = try_read_msr(msr);
    test(
        reads.is_none() && write_faults(msr, 0),
        format_args!("#GP: {name} ({msr:#x}), which is not there"),
    );
}

/// Every access that has to be #GP, and some that must not be.
fn refusals(model: &Model) {
    model.clear();
    for bit in [42, 63] {
        faults("reserved bit of an event select", model.select(0), 1 << bit);
    }
    let any_thread = model.is_intel() && (3..5).contains(&model.version);
    equal(
        format_args!("#GP: AnyThread"),
        write_faults(model.select(0), 1 << 21),
        !any_thread,
    );
    write_msr(model.select(0), 0);
    if model.is_intel() {
        intel_bits(model, any_thread);
        intel_registers(model);
    } else {
        amd_refusals(model);
    }
    let bad = [model.generals, 1 << 30 | model.fixed, 1 << 29, u32::MAX];
    for counter in bad {
        test(
            try_read_counter(counter).is_none(),
            format_args!("#GP: RDPMC of {counter:#x}"),
        );
    }
}

/// Bits that Intel's registers do not have.
fn intel_bits(model: &Model, any_thread: bool) {
    faults("reserved bit of an event select", model.select(0), 1 << 32);
    faults(
        "a fixed counter that is not there",
        FIXED_CTRL,
        1 << (4 * model.fixed),
    );
    equal(
        format_args!("#GP: AnyThread of a fixed counter"),
        write_faults(FIXED_CTRL, 4),
        !any_thread,
    );
    write_msr(FIXED_CTRL, 0);
    faults("global control", model.global_ctrl(), 1 << model.generals);
    faults(
        "global control",
        model.global_ctrl(),
        1 << (32 + model.fixed),
    );
    faults("status reset", model.status_reset(), 1 << model.generals);
    faults("read-only status", model.global_status(), 0);
    faults("high bits of a fixed counter", 0x309, 1 << 48);
}

/// Registers that Intel's processors do not have, or not this one.
fn intel_registers(model: &Model) {
    // Behind the eighth counter and the fourth fixed one lie other MSRs.
    if model.generals < 8 {
        missing("a general counter", 0xc1 + model.generals);
        missing("an event select", 0x186 + model.generals);
    }
    if model.fixed < 4 {
        missing("a fixed counter", 0x309 + model.fixed);
    }
    missing("AMD's counter", 0xc001_0004);
    missing("AMD's counter", 0xc001_0201);
    missing("AMD's global control", 0xc000_0301);
    if model.full_width {
        faults("capabilities", 0x345, 0x2000);
        faults("high bits of a counter", 0x4c1, 1 << 48);
    } else {
        missing("IA32_PERF_CAPABILITIES", 0x345);
        missing("IA32_A_PMC0", 0x4c1);
    }
    if model.version >= 4 {
        faults("in use", 0x392, 0);
        faults("status set", 0x391, 1 << 63);
        let reads = try_read_msr(0x390);
        equal(format_args!("status reset reads"), reads, Some(0));
    } else {
        missing("status set", 0x391);
        missing("in use", 0x392);
    }
}

/// What AMD's processors do not have, or not this one.
fn amd_refusals(model: &Model) {
    faults("reserved bit of an event select", model.select(0), 1 << 36);
    missing("Intel's counter", 0xc1);
    missing("Intel's event select", 0x186);
    missing("Intel's global control", 0x38f);
    missing("Intel's capabilities", 0x345);
    if model.core_ext {
        faults("reserved bit 19", model.select(0), 1 << 19);
        write_msr(0xc001_0005, 1234);
        equal(
            format_args!("the old name of a counter"),
            read_msr(0xc001_0203),
            1234,
        );
        write_msr(0xc001_0002, INSTRUCTIONS);
        equal(
            format_args!("the old name of a select"),
            read_msr(0xc001_0204),
            INSTRUCTIONS,
        );
    } else {
        missing("PERF_CTL0", 0xc001_0200);
        missing("PERF_CTR5", 0xc001_020b);
    }
    if model.version == 2 {
        write_msr(model.global_status(), u64::MAX);
        equal(
            format_args!("read-only status"),
            read_msr(model.global_status()),
            0,
        );
        write_msr(model.global_ctrl(), u64::MAX);
        equal(
            format_args!("global control"),
            read_msr(model.global_ctrl()),
            0x3f,
        );
    } else {
        missing("global control", 0xc000_0301);
    }
}

const TURNS: u64 = 1000;

/// Starts a counter, executes a known number of instructions, reads it.
fn count(switch: Switch, counter: Counter) -> u64 {
    // SAFETY: the MSR is the PMU's.
    unsafe { code::start_then_count(switch.msr, switch.on, Model::number(counter), TURNS) }
}

/// What [`count`] should see of an event that is each instruction.
const COUNTED: u64 = 2 * TURNS + 1;

fn counting(model: &Model) {
    for counter in model.counters() {
        let expected = if counter == Counter::Fixed(3) {
            4 * COUNTED
        } else {
            COUNTED
        };
        for event in [INSTRUCTIONS, model.cycles()] {
            model.clear();
            let switch = model.prepare(counter, event | KERNEL);
            let counted = count(switch, counter);
            equal(
                format_args!("{counter:?} counts event {event:#x}"),
                counted,
                expected,
            );
            write_msr(switch.msr, switch.off);
        }
    }
    let (others, nothing): (&[(u64, u64)], &[u64]) = if model.is_intel() {
        let slots = if model.version >= 5 { 4 * COUNTED } else { 0 };
        (
            &[(0x13c, COUNTED), (0x1a4, slots)],
            &[0x4f2e, 0x412e, 0xc4, 0xc5],
        )
    } else {
        (
            &[(1 << 32 | 0x120, COUNTED)],
            &[0xc2, 0xc3, 0x41, 1 << 32 | 0xc0],
        )
    };
    let zeros = nothing.iter().map(|&event| (event, 0));
    for (event, expected) in others.iter().copied().chain(zeros) {
        model.clear();
        let switch = model.prepare(Counter::General(0), event | KERNEL);
        let counted = count(switch, Counter::General(0));
        equal(format_args!("event {event:#x}"), counted, expected);
    }
    model.clear();
}

/// The WRMSR that stops a counter is the last instruction counted.
fn stopping(model: &Model) {
    for counter in model
        .counters()
        .filter(|&counter| counter != Counter::Fixed(3))
    {
        model.clear();
        let Switch { msr, on, off } = model.prepare(counter, INSTRUCTIONS | KERNEL);
        // SAFETY: the MSR is the PMU's.
        unsafe { code::start_then_stop(msr, on, off, TURNS) };
        let counted = read_msr(model.counter(counter));
        equal(format_args!("{counter:?} stops"), counted, 2 * TURNS + 4);
        equal(
            format_args!("{counter:?} by RDPMC"),
            try_read_counter(Model::number(counter)),
            Some(counted),
        );
    }
    model.clear();
}

/// An instruction that faults is not counted, however much of its block was to
/// be executed behind it.
fn faulting(model: &Model) {
    const NOT_CANONICAL: u64 = 1 << 63;
    model.clear();
    let switch = model.prepare(Counter::General(0), INSTRUCTIONS | KERNEL);
    write_msr(switch.msr, switch.on);
    // SAFETY: the load is #GP, which comes back.
    let counted = unsafe { code::count_fault(0, NOT_CANONICAL) };
    equal(format_args!("around a fault"), counted, code::AROUND_FAULT);
    model.clear();
}

/// As icount has it: see the emulator's README.
fn repeating(model: &Model) {
    model.clear();
    let switch = model.prepare(Counter::General(0), INSTRUCTIONS | KERNEL);
    write_msr(switch.msr, switch.on);
    for n in [0, 1, 2, 10] {
        let mut bytes = [0; 64];
        // SAFETY: there is room for them.
        let counted = unsafe { code::count_repeated(0, &mut bytes, n) };
        equal(format_args!("REP with {n} iterations"), counted, n + 1);
    }
    model.clear();
}

fn modifiers(model: &Model) {
    for (name, flags, expected) in [
        ("mask 1", counter_mask(1), COUNTED),
        ("mask 2", counter_mask(2), 0),
        ("mask 1, inverted", counter_mask(1) | INVERT, 0),
        ("mask 2, inverted", counter_mask(2) | INVERT, COUNTED),
        ("inverted without a mask", INVERT, COUNTED),
        ("edge", EDGE, 0),
    ] {
        model.clear();
        let switch = model.prepare(Counter::General(0), INSTRUCTIONS | KERNEL | flags);
        let counted = count(switch, Counter::General(0));
        equal(format_args!("{name}"), counted, expected);
    }
    model.clear();
}

fn wrapping(model: &Model) {
    for counter in model
        .counters()
        .filter(|&counter| counter != Counter::Fixed(3))
    {
        model.clear();
        let switch = model.prepare(counter, INSTRUCTIONS | KERNEL);
        model.set(counter, COUNTER_MASK - 9);
        let counted = count(switch, counter);
        equal(format_args!("{counter:?} wraps"), counted, COUNTED - 10);
        write_msr(switch.msr, switch.off);
        if model.has_global() {
            let status = read_msr(model.global_status());
            equal(
                format_args!("{counter:?} says so"),
                status,
                Model::bit(counter),
            );
            write_msr(model.status_reset(), status);
            equal(
                format_args!("and is reset"),
                read_msr(model.global_status()),
                0,
            );
        }
    }
    let taken = sampling::run(0).taken();
    equal(
        format_args!("no interrupt without being asked for"),
        taken,
        0,
    );
    model.clear();
}

fn writing(model: &Model) {
    model.clear();
    if model.is_intel() {
        for (value, expected) in [
            (0x1_2345_6789, 0x2345_6789),
            (0x8000_0000, 0xffff_8000_0000),
            (0xffff_ffff_ffff_ffff, 0xffff_ffff_ffff),
        ] {
            write_msr(0xc1, value);
            equal(
                format_args!("IA32_PMC0 <- {value:#x}"),
                read_msr(0xc1),
                expected,
            );
        }
        if model.full_width {
            write_msr(0x4c1, 0x1234_5678_9abc);
            equal(
                format_args!("IA32_A_PMC0"),
                read_msr(0xc1),
                0x1234_5678_9abc,
            );
        }
    } else {
        let counter = model.counter(Counter::General(0));
        write_msr(counter, 0xffff_1234_5678_9abc);
        equal(
            format_args!("PERF_CTR0"),
            read_msr(counter),
            0x1234_5678_9abc,
        );
    }
    model.clear();
}

/// Runs a user program; what it leaves in r8.
fn run_in_user_mode(program: unsafe extern "C" fn(), argument: u64) -> u64 {
    let place = machine::kernel_stack_place();
    // SAFETY: a program of ours, a stack of its own, this core's task state.
    unsafe { code::enter_user(program, user_stack(), place, argument) }
}

#[repr(C, align(16))]
struct Stack([u8; 4096]);

static mut USER_STACKS: [Stack; cores::MAX_CORES] = [const { Stack([0; 4096]) }; cores::MAX_CORES];

fn user_stack() -> u64 {
    let stacks = (&raw mut USER_STACKS).cast::<Stack>();
    stacks.wrapping_add(machine::core_number() + 1) as u64
}

fn privilege(model: &Model) {
    for (first, second) in [(KERNEL, USER), (USER, KERNEL), (KERNEL | USER, 0)] {
        model.clear();
        let flags = [first, second];
        let mut on = 0;
        for (n, flags) in (0..).zip(flags) {
            let switch = model.prepare(Counter::General(n), INSTRUCTIONS | flags);
            on |= switch.on;
            write_msr(switch.msr, if model.has_global() { on } else { switch.on });
        }
        let user = UserRun {
            program: code::user_loop,
            stack: user_stack(),
            kernel_stack: machine::kernel_stack_place(),
            argument: TURNS,
        };
        let mut counts = [0; 2];
        // SAFETY: a program of ours, a stack of its own, this core's task state.
        unsafe { code::count_user(&user, 0, 1, &mut counts) };
        let expected = flags.map(|flags| {
            let kernel = if flags & KERNEL != 0 {
                code::AROUND_USER
            } else {
                0
            };
            let user = 3 * TURNS + code::USER_LOOP_EXTRA;
            kernel + if flags & USER != 0 { user } else { 0 }
        });
        equal(
            format_args!("counted by privilege {flags:x?}"),
            counts,
            expected,
        );
    }
    model.clear();
}

fn reading_in_user_mode() {
    let faults = run_in_user_mode(code::user_rdpmc, 0);
    equal(format_args!("RDPMC in user mode"), faults, 0);
    machine::let_user_read_counters(false);
    let faults = run_in_user_mode(code::user_rdpmc, 0);
    equal(
        format_args!("#GP: RDPMC in user mode without CR4.PCE"),
        faults,
        1,
    );
    machine::let_user_read_counters(true);
}

fn status(model: &Model) {
    model.clear();
    if model.is_intel() && model.version >= 4 {
        model.prepare(Counter::General(1), INSTRUCTIONS | KERNEL | INTERRUPT);
        model.prepare(Counter::Fixed(2), USER);
        equal(
            format_args!("in use"),
            read_msr(0x392),
            1 << 63 | 1 << 34 | 1 << 1,
        );
    }
    if model.version >= 4 || (!model.is_intel() && model.version == 2) {
        model.clear();
        write_msr(model.status_set(), 1);
        equal(
            format_args!("status set"),
            read_msr(model.global_status()),
            1,
        );
        write_msr(model.status_set(), FREEZE);
        let switch = model.prepare(Counter::General(0), INSTRUCTIONS | KERNEL);
        let counted = count(switch, Counter::General(0));
        equal(format_args!("frozen"), counted, 0);
        write_msr(switch.msr, switch.off);
        write_msr(model.status_reset(), FREEZE | 1);
        let counted = count(switch, Counter::General(0));
        equal(format_args!("no longer frozen"), counted, COUNTED);
    }
    model.clear();
}

/// A counter that interrupts once, after `period` instructions of the kernel.
fn once(model: &Model, counter: Counter, period: u64) -> Setup {
    Setup {
        counter,
        switch: model.prepare(counter, INSTRUCTIONS | KERNEL | INTERRUPT),
        period,
        entry: machine::LVT_NMI,
        wanted: 1,
        step: 0,
    }
}

fn freezing(expected: &Expected) {
    const DEBUG_CTL: u32 = 0x1d9;
    const FREEZE_ON_PMI: u64 = 1 << 12;
    let model = &expected.model;
    if !model.is_intel() {
        return;
    }
    let run = sampling::run(0);
    write_msr(DEBUG_CTL, FREEZE_ON_PMI);
    equal(
        format_args!("IA32_DEBUGCTL"),
        read_msr(DEBUG_CTL),
        FREEZE_ON_PMI,
    );
    model.clear();
    let setup = once(model, Counter::General(0), 100);
    run.set_up(model, &setup);
    // SAFETY: the MSR is the PMU's, the interrupt has an entry.
    unsafe { code::start_then_loop(setup.switch.msr, setup.switch.on, 200 + expected.skid) };
    equal(format_args!("one interrupt"), run.taken(), 1);
    equal(
        format_args!("frozen at it"),
        run.counter_seen(),
        expected.skid,
    );
    if model.version >= 4 {
        let status = run.status_seen();
        equal(format_args!("status"), status, FREEZE | 1);
    } else {
        equal(format_args!("global control"), run.control_seen(), 0);
    }
    write_msr(DEBUG_CTL, 0);
    model.clear();
}

/// Two counters that overflow at the same instruction make one interrupt.
fn together(expected: &Expected) {
    let model = &expected.model;
    if !model.has_global() {
        return;
    }
    model.clear();
    let run = sampling::run(0);
    let mut setup = once(model, Counter::General(0), 100);
    once(model, Counter::General(1), 100);
    model.set(Counter::General(1), 100_u64.wrapping_neg());
    setup.switch.on = 3;
    run.set_up(model, &setup);
    // SAFETY: as above.
    unsafe { code::start_then_loop(setup.switch.msr, setup.switch.on, 200 + expected.skid) };
    equal(format_args!("two overflows, one interrupt"), run.taken(), 1);
    equal(
        format_args!("two overflows in the status"),
        run.status_seen(),
        3,
    );
    let position = run.positions().next();
    equal(
        format_args!("position"),
        position,
        Some(100 + expected.skid),
    );
    model.clear();
}

/// Overflows by the very instruction that ends the counting, and one that meets
/// the handler of another.
fn at_the_last_moment(expected: &Expected) {
    by_the_stop(expected);
    by_a_trap(expected);
    if expected.skid == 0 {
        behind_the_stop(&expected.model);
        if expected.model.has_global() {
            in_the_handler(expected);
        }
    }
    expected.model.clear();
}

/// By the WRMSR that stops, or not if it counts one less.
fn by_the_stop(expected: &Expected) {
    let model = &expected.model;
    let counter = Counter::General(0);
    let run = sampling::run(0);
    for (more, interrupts) in [(0, 1), (1, 0)] {
        model.clear();
        let setup = once(model, counter, 2 * TURNS + 4 + more);
        run.set_up(model, &setup);
        let Switch { msr, on, off } = setup.switch;
        // SAFETY: the MSR is the PMU's, the interrupt has an entry.
        unsafe { code::start_then_stop(msr, on, off, TURNS) };
        (0..2 * expected.skid).for_each(|_| core::hint::spin_loop());
        equal(
            format_args!("overflow by the WRMSR that stops"),
            run.taken(),
            interrupts,
        );
    }
}

/// By INT n in user mode.
fn by_a_trap(expected: &Expected) {
    let model = &expected.model;
    let counter = Counter::General(0);
    let run = sampling::run(0);
    model.clear();
    let mut setup = once(model, counter, 3 * TURNS + code::USER_LOOP_EXTRA);
    setup.switch = model.prepare(counter, INSTRUCTIONS | USER | INTERRUPT);
    run.set_up(model, &setup);
    write_msr(setup.switch.msr, setup.switch.on);
    run_in_user_mode(code::user_loop, TURNS);
    let place = run.rip_seen() == code::user_exit_entry as *const () as u64;
    test(
        run.taken() == 1 && (place || expected.skid > 0),
        format_args!("overflow by INT n: at the first instruction of its handler"),
    );
}

/// Where the first of those interrupts comes.
fn behind_the_stop(model: &Model) {
    let run = sampling::run(0);
    model.clear();
    let setup = once(model, Counter::General(0), 2 * TURNS + 4);
    run.set_up(model, &setup);
    let Switch { msr, on, off } = setup.switch;
    // SAFETY: as above.
    unsafe { code::start_then_stop(msr, on, off, TURNS) };
    let place = code::stopped as *const () as u64;
    equal(
        format_args!("at once behind the WRMSR"),
        run.rip_seen(),
        place,
    );
}

/// The other counter overflows while the handler saves registers. Its NMI waits for IRET and
/// comes before the next instruction; but where the first delivery has masked the entry there
/// is none, just the status.
fn in_the_handler(expected: &Expected) {
    let model = &expected.model;
    let counter = Counter::General(0);
    let run = sampling::run(0);
    model.clear();
    let mut setup = once(model, counter, 100);
    once(model, Counter::General(1), 110);
    model.set(Counter::General(1), 110_u64.wrapping_neg());
    setup.switch.on = 3;
    run.set_up(model, &setup);
    // SAFETY: as above.
    unsafe { code::start_then_loop(setup.switch.msr, setup.switch.on, 200) };
    let interrupts = if expected.mask { 1 } else { 2 };
    equal(
        format_args!("an overflow in the handler"),
        run.taken(),
        interrupts,
    );
    let status = if expected.mask { 3 } else { 0 };
    equal(
        format_args!("status at the last interrupt"),
        run.status_seen(),
        status,
    );
    let same = run.positions().all(|position| position == 100);
    test(same, format_args!("interrupts behind its IRET"));
}

/// A halted core counts nothing; and its last overflow wakes it.
fn halting(expected: &Expected) {
    const NAP: u32 = 1_000_000;
    let model = &expected.model;
    for event in [INSTRUCTIONS, model.cycles()] {
        model.clear();
        let switch = model.prepare(Counter::General(0), event | KERNEL);
        let before = machine::time();
        machine::wake_in(NAP);
        // SAFETY: the MSR is the PMU's, the timer has an entry.
        unsafe { code::start_then_halt(switch.msr, switch.on) };
        let counted = try_read_counter(0).unwrap_or(0);
        write_msr(switch.msr, switch.off);
        let passed = machine::time() - before;
        test(
            (code::TO_HALT..1000).contains(&counted) && passed >= u64::from(NAP),
            format_args!("event {event:#x} while halted: {counted} counted, {passed} passed"),
        );
    }
    model.clear();
    let run = sampling::run(0);
    let setup = once(model, Counter::General(0), code::TO_HALT);
    run.set_up(model, &setup);
    let before = machine::time();
    // SAFETY: as above.
    unsafe { code::start_then_halt(setup.switch.msr, setup.switch.on) };
    let passed = machine::time() - before;
    equal(format_args!("HLT overflows and is woken"), run.taken(), 1);
    test(
        cores::count() > 1 || passed < 2000,
        format_args!("at once: {passed} passed"),
    );
    equal(
        format_args!("in the kernel's code"),
        run.rip_seen() >> 31,
        0x1_ffff_ffff,
    );
    model.clear();
}

/// How a counter is used to sample.
#[derive(Clone, Copy, Debug)]
struct Sampled {
    counter: Counter,
    cycles: bool,
    privilege: u64,
    nmi: bool,
}

fn sampling_on_all_cores() {
    let expected = expected();
    let model = &expected.model;
    let last = Counter::General(model.generals - 1);
    let general = |counter, cycles, privilege, nmi| Sampled {
        counter,
        cycles,
        privilege,
        nmi,
    };
    let ways = [
        general(Counter::General(0), false, KERNEL, true),
        general(last, true, KERNEL, false),
        general(Counter::General(1), false, USER, true),
    ];
    let fixed = (0..model.fixed.min(3)).map(|n| general(Counter::Fixed(n), false, KERNEL, true));
    for way in ways.into_iter().chain(fixed) {
        for period in [100, 128, 1000, 4096] {
            sample(expected, &way, period, SAMPLES as u64);
        }
    }
    sample(expected, &ways[0], 100, expected.long);
}

/// Samples on all cores, and judges what came of it.
fn sample(expected: &Expected, way: &Sampled, period: u64, wanted: u64) {
    let model = &expected.model;
    model.clear();
    let event = if way.cycles {
        model.cycles()
    } else {
        INSTRUCTIONS
    };
    let (first, step) = expected_positions(expected, way, period);
    let setup = Setup {
        counter: way.counter,
        switch: model.prepare(way.counter, event | way.privilege | INTERRUPT),
        period,
        entry: if way.nmi {
            machine::LVT_NMI
        } else {
            machine::OVERFLOW_VECTOR.into()
        },
        wanted,
        step,
    };
    let run = sampling::run(machine::core_number());
    run.set_up(model, &setup);
    let turns = (wanted + 1) * (period + expected.skid) / 3;
    cores::meet();
    if way.privilege == USER {
        write_msr(setup.switch.msr, setup.switch.on);
        run_in_user_mode(code::user_loop, turns);
    } else {
        machine::enable_interrupts(!way.nmi);
        // SAFETY: the MSR is the PMU's, the interrupt has an entry.
        unsafe { code::start_then_loop(setup.switch.msr, setup.switch.on, turns) };
        machine::enable_interrupts(false);
    }
    write_msr(setup.switch.msr, setup.switch.off);
    cores::meet();
    if cores::is_first() {
        judge(expected, &setup, way, first);
    }
    cores::meet();
}

/// Where the first interrupt has to come, and how far behind it each next one.
fn expected_positions(expected: &Expected, way: &Sampled, period: u64) -> (u64, u64) {
    let due = period + expected.skid;
    if way.privilege == USER {
        (due - code::USER_LOOP_LEAD, due)
    } else {
        (due, due - code::OVERFLOW_EXIT)
    }
}

fn judge(expected: &Expected, setup: &Setup, way: &Sampled, first: u64) {
    for core in 0..cores::count() {
        let run = sampling::run(core);
        let positions = run.positions().next();
        let masked = run.entry_seen() & machine::LVT_MASKED != 0;
        let good = run.taken() == setup.wanted
            && positions == Some(first)
            && run.astray() == 0
            && masked == expected.mask;
        test(
            good,
            format_args!(
                "core {core}: {way:?} each {}: {} interrupts, the first at {positions:?} \
                 ({first}), {} not {} behind the one before, masked: {masked}",
                setup.period,
                run.taken(),
                run.astray(),
                setup.step
            ),
        );
    }
}
