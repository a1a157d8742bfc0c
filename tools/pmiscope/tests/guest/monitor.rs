//! The kernel's monitor, over a serial port: entered by a failure, by its key, and before a run.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{Slot, built};
use crate::last_words::name_in;

const PROMPT: &str = "pmiscope> ";
const KEY: &str = "\x03";
const LIMIT: Duration = Duration::from_secs(120);

/// A guest at whose serial port somebody is.
struct Guest {
    child: Child,
    port: UnixStream,
    socket: PathBuf,
    /// What has come and was not looked at.
    unseen: String,
    /// All that has come.
    log: String,
    /// Given back at its end: a test may have several guests, one after the other.
    slot: Option<Slot>,
}

impl Guest {
    fn start(name: &str, cores: u32, settings: &str) -> Self {
        let slot = Slot::take();
        // A short path: that of a socket has a limit.
        let process = std::process::id();
        let socket = std::env::temp_dir().join(format!("pmiscope-{process}-{name}.socket"));
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let line = format!(
            "-machine q35 -smp {cores} -accel tcg,thread=single -icount shift=0,sleep=off \
             -cpu max,-x2apic -m 128M -global hpet.msi=on -global hpet.timers=3 -display none \
             -nodefaults -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=1 \
             -serial unix:{} -kernel {} -initrd {}",
            socket.display(),
            built("loader").display(),
            built("kernel").display(),
        );
        let child = Command::new("qemu-system-x86_64")
            .args(line.split_ascii_whitespace())
            .args(["-append", settings])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("QEMU starts");
        let (port, _) = listener.accept().unwrap();
        port.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        Self {
            child,
            port,
            socket,
            unseen: String::new(),
            log: String::new(),
            slot: Some(slot),
        }
    }

    /// What comes up to this text.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        let started = Instant::now();
        loop {
            if let Some(at) = self.unseen.find(text) {
                let rest = self.unseen.split_off(at + text.len());
                return std::mem::replace(&mut self.unseen, rest);
            }
            let mut bytes = [0; 4096];
            let has_ended = match self.port.read(&mut bytes) {
                Ok(count) => {
                    let came = String::from_utf8_lossy(&bytes[..count]).replace('\r', "");
                    self.unseen += &came;
                    self.log += &came;
                    count == 0
                }
                Err(_) => false,
            };
            assert!(
                !has_ended && started.elapsed() < LIMIT,
                "`{text}` does not come: {}",
                self.log
            );
        }
    }

    fn type_in(&mut self, text: &str) {
        self.port.write_all(text.as_bytes()).unwrap();
    }

    /// What a command shows. The prompt is there, and is again.
    #[track_caller]
    fn ask(&mut self, command: &str) -> String {
        self.type_in(&format!("{command}\r"));
        let shown = self.until(PROMPT);
        let shown = shown.strip_prefix(&format!("{command}\n"));
        let shown = shown.unwrap_or_else(|| panic!("no echo of {command}: {}", self.log));
        shown.strip_suffix(PROMPT).unwrap().to_owned()
    }

    /// Asserts that a command shows one line, which is this one.
    #[track_caller]
    fn refuses(&mut self, command: &str, says: &str) {
        assert_eq!(self.ask(command), format!("monitor: {says}\n"), "{command}");
    }

    /// Waits for its end, by this status of QEMU.
    #[track_caller]
    fn ended_with(&mut self, status: i32) {
        let started = Instant::now();
        // To the end of its port: what it has said may leave long behind its last look.
        loop {
            let mut bytes = [0; 4096];
            match self.port.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => {
                    self.log += &String::from_utf8_lossy(&bytes[..count]).replace('\r', "");
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                    // It has not read all that was typed.
                    ErrorKind::ConnectionReset => break,
                    _ => panic!("{error}: {}", self.log),
                },
            }
            assert!(started.elapsed() < LIMIT, "no end: {}", self.log);
        }
        let ended = self.child.wait().unwrap();
        self.slot = None;
        assert_eq!(ended.code(), Some(status), "{}", self.log);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

/// The functions of a backtrace, each compared with the ELF file, without the path to them.
#[track_caller]
fn frames(backtrace: &str) -> Vec<String> {
    let mut is_instruction = true;
    let mut frames = Vec::new();
    for line in backtrace.lines() {
        if line.starts_with("-- ") {
            is_instruction = true;
            continue;
        }
        if line.starts_with("    and ") {
            continue;
        }
        let line = line.strip_prefix('#');
        let line = line.unwrap_or_else(|| panic!("not of frames alone: {backtrace}"));
        let name = name_in(line, !is_instruction);
        is_instruction = false;
        frames.push(name.rsplit("::").next().unwrap().to_owned());
    }
    frames
}

#[test]
fn a_fault_on_another_core_is_looked_at_and_left_behind() {
    let mut guest = Guest::start("fault", 4, "monitor=on test=fault-elsewhere");
    let said = guest.until(PROMPT);
    assert!(
        said.contains("[ERROR core3] page fault (vector 14) at 0x"),
        "{said}"
    );
    let greeting =
        "monitor: core 3, which has failed; `help` lists commands, `resume` lets all go on";
    assert!(said.contains(greeting), "{said}");

    let deep = ["faulting_inner", "faulting_middle", "faulting_outer"];
    let backtrace = guest.ask("bt");
    assert_eq!(frames(&backtrace)[..3], deep, "{backtrace}");
    assert!(
        backtrace.ends_with("-- chain: complete --\n"),
        "{backtrace}"
    );
    assert!(
        said.contains(&backtrace),
        "another than when it failed: {said}"
    );
    // That core has interrupts off.
    let other = guest.ask("bt 1");
    assert_eq!(frames(&other)[0], "looping", "{other}");
    assert!(other.ends_with("-- chain: complete --\n"), "{other}");
    assert!(guest.ask("regs 1").contains("IOPL=0"), "{}", guest.log);
    assert!(!guest.ask("regs 1").contains(" IF "), "{}", guest.log);
    assert!(guest.ask("regs 2").contains(" IF "), "{}", guest.log);

    // What the function has on its stack.
    let dump = guest.ask("hexdump rsp 128");
    let bytes: String = dump.lines().map(|row| &row[17..66]).collect();
    let bytes = bytes.split_whitespace().collect::<Vec<_>>().join(" ");
    let known = "88 77 66 55 44 33 22 11 00 ff ee dd cc bb aa 99";
    assert!(bytes.contains(known), "{dump}");

    let maps = guest.ask("maps rsp");
    assert!(maps.contains("is on core 3's kernel stack\n"), "{maps}");
    assert_eq!(
        maps.lines()
            .filter(|line| line.starts_with("  level "))
            .count(),
        4
    );
    assert!(
        maps.contains("level 1: 0x8") && maps.contains(" pw---ad-gn\n"),
        "{maps}"
    );

    guest.type_in("resume\r");
    guest.until("core 3 has failed and stays at rest; ^C leads back to it; the others go on");
    guest.type_in(KEY);
    guest.until(PROMPT);
    let again = guest.ask("bt 1");
    assert_eq!(frames(&again)[0], "looping", "{again}");
    let cores = guest.ask("cores");
    let failed: Vec<_> = cores
        .lines()
        .filter(|line| line.contains(", failed"))
        .collect();
    assert!(
        failed.len() == 1 && failed[0].starts_with("   3 "),
        "{cores}"
    );
    guest.type_in("exit 5\r");
    guest.ended_with(2 * 5 + 1);
}

/// `docs/founding-bug.md` leads a reader by the same steps.
#[test]
fn the_founding_bug_is_told_so_that_a_reader_finds_the_instruction() {
    let mut guest = Guest::start("founding", 2, "monitor=panic test=founding-bug");
    let said = guest.until(PROMPT);
    for says in [
        "the first sample has 2 callers; now the core idles\n",
        "page fault (vector 14) at 0x",
        "\n  cr2 0000000000000008 (reading, not mapped)\n",
        "\n  stack pointer: core 0's kernel stack\n",
    ] {
        assert!(said.contains(says), "`{says}` is not in {said}");
    }
    let backtrace = guest.ask("bt");
    assert!(said.contains(&backtrace), "another one is in {said}");
    let (chain, end) = backtrace.split_once("-- chain: ").unwrap();
    assert_eq!(end, "frame pointer below the frame --\n");
    let (profiler, idle) = chain
        .split_once("-- interrupt (vector 248) --\n")
        .expect(&backtrace);
    let below = ["count_callers", "on_sample", "dispatch", "trap_common"];
    assert_eq!(frames(profiler), below);
    let idle = idle.strip_suffix('\n').unwrap();
    assert_eq!(frames(idle), ["founding_idle"]);

    // The one that was to come first, behind the one that let the interrupt in a step too early.
    let address = &idle.split_once("0x").unwrap().1[..16];
    let code = guest.ask("disasm founding_idle 7");
    let column = "  ffffffff80012345  00 00 00 00 00 00 00 00  ".len();
    let instructions: Vec<_> = code.lines().skip(1).map(|it| it.split_at(column)).collect();
    let at = instructions.iter().position(|it| it.0.contains(address));
    let texts: Vec<_> = instructions.iter().map(|it| it.1).collect();
    assert_eq!(
        texts[2..6],
        ["sti", "mov rsp, qword [rdi + 0x8]", "xor ebp, ebp", "cli"],
        "{code}"
    );
    assert_eq!(at, Some(4), "{address} in {code}");

    // What the interrupt has pushed over the frame that the frame pointer leads to.
    let pushed = guest.ask("hexdump 0xfffffe000001ffd0 16");
    let row = "fffffe000001ffd0  08 00 00 00 00 00 00 00  ";
    assert!(pushed.starts_with(row), "no code segment: {pushed}");
    guest.type_in("exit\r");
    guest.ended_with(39);
}

#[test]
fn the_end_of_a_failure_has_its_own_status() {
    let mut guest = Guest::start("status", 2, "monitor=panic test=fault-elsewhere");
    guest.until(PROMPT);
    guest.type_in("exit\r");
    guest.ended_with(39);
    // Once more, when the others have gone on.
    let mut guest = Guest::start("status", 2, "monitor=panic test=panic");
    guest.until(PROMPT);
    guest.type_in("resume\r");
    guest.until("the others go on");
    guest.type_in(KEY);
    guest.until(PROMPT);
    guest.type_in("exit\r");
    guest.ended_with(37);
}

/// A core that was left behind has said why it failed, then.
#[test]
fn a_failure_that_was_left_behind_is_not_told_as_another_one() {
    let mut guest = Guest::start("before", 2, "monitor=panic test=panic-everywhere");
    let said = guest.until(PROMPT);
    let is_of_first = said.contains("this panic of core 0 was asked for");
    let (first, other) = if is_of_first { (0, 1) } else { (1, 0) };
    guest.type_in("resume\r");
    let said = guest.until(PROMPT);
    let own = format!("this panic of core {other} was asked for\n");
    assert!(said.contains(&own), "{said}");
    let before = format!("core {first} (APIC id {first}) has failed before\n#00 ");
    assert!(said.contains(&before), "{said}");
    assert!(!said.contains("as well"), "{said}");
    guest.type_in("exit\r");
    guest.ended_with(37);

    let mut guest = Guest::start("before", 2, "monitor=panic test=panic-left-behind");
    guest.until(PROMPT);
    guest.type_in("resume\r");
    guest.ended_with(37);
    let before = "[ERROR core0] core 1 has failed before, so the run has failed\n";
    let behind = guest.log.split_once("the others go on").unwrap().1;
    assert!(behind.contains(before), "{}", guest.log);
    assert!(!behind.contains("as well"), "{}", guest.log);
}

#[test]
fn bad_input_is_a_line_and_the_prompt_again() {
    let mut guest = Guest::start("bad", 2, "monitor=panic test=panic");
    guest.until(PROMPT);
    for (command, says) in [
        ("frobnicate", "no command `frobnicate`; try `help`"),
        ("re", "`re` may be any of resume, reboot, regs"),
        ("help x", "no command `x`; try `help`"),
        ("hexdump", "ADDR|NAME is missing"),
        ("hexdump 0", "0x0000000000000000 is not mapped"),
        ("hexdump 0xdead0000", "0x00000000dead0000 is not mapped"),
        (
            "hexdump 0x8000000000000000",
            "0x8000000000000000 is not canonical",
        ),
        (
            "hexdump 0xfffffd0000000000",
            "0xfffffd0000000000 is device memory, which is not read",
        ),
        (
            "hexdump 0xffffffffffffffff 16",
            "0xffffffffffffffff is not mapped",
        ),
        ("hexdump rsp 0", "LEN must be from 1 to 4096, not 0"),
        ("hexdump rsp 4097", "LEN must be from 1 to 4096, not 4097"),
        (
            "hexdump rsp 12x",
            "LEN must be a number such as 4096 or 0x1000, not `12x`",
        ),
        ("hexdump rsp 1 1", "`1` is one word too many; try `help`"),
        (
            "hexdump nothing_like_it",
            "no function or register fits `nothing_like_it`",
        ),
        (
            "maps 0x8000000000000000",
            "0x8000000000000000 is not canonical",
        ),
        ("sym 0x10", "no function at 0x10"),
        (
            "sym nothing_like_it",
            "no function's name has `nothing_like_it`",
        ),
        ("disasm 0xdead0000", "0x00000000dead0000 is not mapped"),
        ("disasm rip 0", "N must be from 1 to 256"),
        ("bt 2", "no core 2; there are cores 0 to 1"),
        ("bt task 7", "no task 7; `tasks` lists them"),
        (
            "regs 18446744073709551615",
            "no core 18446744073709551615; there are cores 0 to 1",
        ),
        ("on", "CORE is missing"),
        ("on 1", "COMMAND is missing"),
        ("on 1 frobnicate", "no command `frobnicate`; try `help`"),
        ("on 1 hexdump 0", "0x0000000000000000 is not mapped"),
        (
            "on 1 resume",
            "only the core with the prompt can do that: leave out `on`",
        ),
        (
            "call hang",
            "`hang` cannot be called; `call` lists what can",
        ),
        ("call read_port 0x10000", "PORT must be from 0 to 0xffff"),
        ("msr", "N is missing"),
        ("msr 0x100000000", "N has 32 bits at most"),
        // It has 32 bits: #GP.
        (
            "msr 0x6e1 0x100000000",
            "the processor refuses 0x100000000 for MSR 0x6e1",
        ),
        (
            "on 1 msr 0x6e1 0x100000000",
            "the processor refuses 0x100000000 for MSR 0x6e1",
        ),
        ("cpuid 0x100000000", "LEAF has 32 bits at most"),
        ("exit 128", "STATUS must be from 0 to 127, not 128"),
        (
            "exit now",
            "STATUS must be a number such as 4096 or 0x1000, not `now`",
        ),
    ] {
        guest.refuses(command, says);
    }
    // Half a line, and a line of nothing.
    guest.type_in("hexdump 0xff");
    guest.type_in(KEY);
    guest.until("^C\n");
    guest.until(PROMPT);
    assert_eq!(guest.ask(""), "");
    guest.type_in("exit 0\r");
    guest.ended_with(1);
}

#[test]
fn commands_show_what_is_there() {
    let mut guest = Guest::start("commands", 2, "monitor=start test=nothing");
    let said = guest.until(PROMPT);
    assert!(said.contains("monitor: core 0, before the run"), "{said}");
    let help = guest.ask("help");
    for name in [
        "resume",
        "bt [CORE|task N]",
        "hexdump ADDR|NAME [LEN]",
        "exit [STATUS]",
    ] {
        assert!(help.contains(&format!("  {name} ")), "{help}");
    }
    let says = "exit [STATUS]: end the run with this status, 0 to 127, or with that of the failure";
    assert_eq!(guest.ask("help ex"), format!("{says}\n"));

    // A function's name, and back.
    let known = "kernel::selftest::monitor::faulting_middle";
    let listed = guest.ask("sym monitor::faulting_middle");
    assert!(listed.ends_with(&format!(" {known}\n")), "{listed}");
    let address = listed.split_whitespace().next().unwrap();
    let found = guest.ask(&format!("sym {address}"));
    assert!(
        found.starts_with(&format!("{address} {known}+0x0 of 0x")),
        "{found}"
    );
    let found = guest.ask("sym faulting_middle+1");
    assert!(found.contains(&format!(" {known}+0x1 of 0x")), "{found}");

    // Its first instructions, of which one is the call.
    let code = guest.ask("disasm faulting_middle 6");
    assert!(
        code.starts_with(&format!("{known}+0x0:\n  {}  55 ", &address[2..])),
        "{code}"
    );
    assert!(
        code.contains(" push rbp\n") && code.contains(" mov rbp, rsp\n"),
        "{code}"
    );
    let calls = "kernel::selftest::monitor::faulting_inner+0x0\n";
    assert!(code.lines().any(|line| line.contains(" call 0x")), "{code}");
    assert!(code.contains(calls), "{code}");
    // `push rbp; mov rbp, rsp`.
    let dump = guest.ask("hexdump faulting_middle 4");
    let row = format!("{}  55 48 89 e5 ", &address[2..]);
    assert!(
        dump.starts_with(&row) && dump.ends_with("|UH..|\n"),
        "{dump}"
    );

    // The last word of a stack, and behind it nothing.
    let dump = guest.ask("hexdump 0xfffffe000001fff8 16");
    let end = "|\nmonitor: 0xfffffe0000020000 is not mapped\n";
    assert!(
        dump.starts_with("fffffe000001fff8  ") && dump.ends_with(end),
        "{dump}"
    );

    assert_eq!(guest.ask("call apic_id"), "apic_id: 0 (0x0)\n");
    assert_eq!(guest.ask("on 1 call apic_id"), "apic_id: 1 (0x1)\n");
    assert_eq!(
        guest.ask("call broken_canaries"),
        "broken_canaries: 0 (0x0)\n"
    );
    assert!(
        guest
            .ask("cpuid 0")
            .starts_with("CPUID 0x0.0x0: eax 0000000")
    );
    assert_eq!(guest.ask("msr 0x1b"), "MSR 0x1b: 0x00000000fee00900\n");
    assert_eq!(guest.ask("on 1 msr 0x1b"), "MSR 0x1b: 0x00000000fee00800\n");
    let memory = guest.ask("mem");
    assert!(
        memory.contains("kernel's image\n") && memory.contains("  free: "),
        "{memory}"
    );
    assert!(guest.ask("tasks").contains("there are no tasks"));

    let stacks = guest.ask("stacks");
    assert_eq!(stacks.lines().count(), 12, "{stacks}");
    for line in stacks.lines() {
        assert!(line.contains(", canary whole: core "), "{stacks}");
    }
    let used = |of: &str| -> u64 {
        let line = stacks.lines().find(|line| line.ends_with(of)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    // Nothing but a machine check comes there.
    assert_eq!(used("core 1's machine check stack"), 0);
    assert!(
        (300..60_000).contains(&used("core 0's kernel stack")),
        "{stacks}"
    );
    assert!(
        (200..4096).contains(&used("core 1's NMI handler stack")),
        "{stacks}"
    );

    // By the end of input, too.
    guest.type_in("\x04");
    guest.ended_with(33);
}

#[test]
fn a_key_holds_all_cores_though_interrupts_are_off() {
    let mut guest = Guest::start("deaf", 4, "monitor=key test=all-deaf");
    guest.until("all are deaf");
    // The core that says so may still be saying it.
    for _ in 0..20 {
        guest.type_in(KEY);
        let said = guest.until(PROMPT);
        assert!(said.contains("monitor: core 0, by key; "), "{said}");
        assert!(!said.contains("does not answer"), "{said}");
        if frames(&guest.ask("bt 0"))[0] == "looping" {
            break;
        }
        guest.type_in("resume\r");
        guest.until("resume\n");
        // QEMU lets the cores run in turns.
        std::thread::sleep(Duration::from_millis(500));
    }
    for core in 0..4 {
        let backtrace = guest.ask(&format!("bt {core}"));
        assert_eq!(frames(&backtrace)[0], "looping", "{backtrace}");
        let registers = guest.ask(&format!("regs {core}"));
        assert!(!registers.contains(" IF "), "{registers}");
    }
    assert_eq!(guest.ask("on 3 call apic_id"), "apic_id: 3 (0x3)\n");
    guest.type_in("resume\r");
    // Other bytes are dropped.
    guest.type_in("help\r");
    std::thread::sleep(Duration::from_millis(300));
    guest.type_in(KEY);
    let said = guest.until(PROMPT);
    assert!(!said.contains("list commands, or"), "{said}");
    guest.type_in("exit\r");
    guest.ended_with(33);
    assert!(
        guest.log.contains("ended by hand, with status 16"),
        "{}",
        guest.log
    );
}

/// As a script types, or who pastes: all at once.
#[test]
fn what_is_typed_ahead_is_executed_as_it_was_typed() {
    let mut guest = Guest::start("ahead", 3, "monitor=key test=count");
    guest.until("all count");
    guest
        .type_in("dropped\x03on 1 call apic_id\rcall apic_id\ron 2 call apic_id\rhelp on\rcores\r");
    for says in [
        "apic_id: 1 (0x1)\n",
        "apic_id: 0 (0x0)\n",
        "apic_id: 2 (0x2)\n",
        "on CORE COMMAND...: let another core execute a command\n",
    ] {
        let said = guest.until(says);
        assert!(!said.contains("no command"), "{said}");
    }
    let cores = guest.until(PROMPT) + &guest.until(PROMPT);
    let states = |cores: &str| -> Vec<String> {
        let lines = cores.lines().skip_while(|line| !line.starts_with("core "));
        let states = lines
            .skip(1)
            .filter_map(|line| line.split_whitespace().nth(2));
        states.map(str::to_owned).collect()
    };
    assert_eq!(states(&cores), ["monitor", "held", "held"], "{cores}");
    // By another core, the same.
    let cores = guest.ask("on 2 cores");
    assert_eq!(states(&cores), ["monitor", "held", "works"], "{cores}");
    // What is behind the end of a session is not of the next one.
    guest.type_in("on 1 call apic_id\rresume\rhelp\r");
    guest.until("resume\n");
    std::thread::sleep(Duration::from_millis(300));
    guest.type_in(KEY);
    let said = guest.until(PROMPT);
    assert!(!said.contains("list commands, or"), "{said}");
    guest.type_in("exit\r");
    guest.ended_with(33);
}

/// The NMIs of each core that were nobody's, as `cores` has them.
fn unclaimed(cores: &str) -> Vec<&str> {
    let lines = cores.lines().skip(1);
    lines
        .map(|line| line.split_whitespace().nth(3).unwrap())
        .collect()
}

#[test]
fn what_a_key_holds_goes_on_where_it_was() {
    let mut guest = Guest::start("count", 3, "monitor=key test=count");
    guest.until("all count");
    for _ in 0..5 {
        guest.type_in("other bytes");
        guest.type_in(KEY);
        guest.until(PROMPT);
        let cores = guest.ask("cores");
        assert_eq!(cores.matches("held").count(), 2, "{cores}");
        // Neither the port's NMIs nor those that hold a core are nobody's.
        assert_eq!(unclaimed(&cores), ["0"; 3], "{cores}");
        guest.type_in("resume\r");
        guest.until("resume\n");
    }
    guest.ended_with(33);
}

#[test]
fn a_sampled_run_goes_on_to_its_end() {
    for settings in [
        "source=auto delivery=nmi",
        "source=apic-timer delivery=irq",
        "source=hpet delivery=nmi",
    ] {
        let line = format!("{settings} monitor=on workload=mix period=2000 samples=200000");
        let mut guest = Guest::start("sampled", 3, &line);
        guest.until("region: ");
        let mut waits = 0;
        for _ in 0..3 {
            // Behind the calibration.
            std::thread::sleep(Duration::from_millis(400));
            guest.type_in(KEY);
            let said = guest.until(PROMPT);
            assert!(!said.contains("does not answer"), "{said}");
            // Those that held the cores before came when they went on.
            // By maskable interrupts some are, as waits are cut short by interrupts of the sampler's.
            if settings.contains("delivery=nmi") {
                let status = guest.ask("prof status");
                let (_, sum) = status.split_once("\n all ").unwrap();
                let unclaimed = sum.split_whitespace().nth(4);
                assert_eq!(unclaimed, Some("0"), "{settings}: {status}{}", guest.log);
            }
            for core in 1..3 {
                let backtrace = guest.ask(&format!("bt {core}"));
                // What recurses may be deeper than a chain.
                let ends = ["-- chain: complete --\n", "-- chain: depth limit --\n"];
                let is_ended = ends.iter().any(|end| backtrace.ends_with(end));
                assert!(is_ended, "{backtrace}");
                let frames = frames(&backtrace);
                waits += u32::from(frames.contains(&"pass_to_next".to_owned()));
            }
            // A task that waits for its core.
            let tasks = guest.ask("tasks");
            if let Some(ready) = tasks.lines().find(|line| line.contains(" ready ")) {
                let number = ready.split_whitespace().nth(1).unwrap();
                let backtrace = guest.ask(&format!("bt task {number}"));
                let frames = frames(&backtrace);
                assert_eq!(frames.last().unwrap(), "task_root", "{backtrace}");
            }
            guest.type_in("resume\r");
            guest.until("resume\n");
        }
        guest.ended_with(33);
        assert!(guest.log.contains("sampling: done"), "{}", guest.log);
        // In handlers of NMIs, where no NMI reaches them.
        let is_by_nmi = settings.contains("delivery=nmi");
        assert_eq!(waits > 0, is_by_nmi, "{settings}: {}", guest.log);
    }
}

/// What is at the prompt for long is no work of what was interrupted.
#[test]
fn the_time_at_the_prompt_is_on_no_account() {
    let line =
        "source=apic-timer delivery=nmi monitor=on accounting=on workload=mix samples=10000000";
    let mut guest = Guest::start("accounts", 2, line);
    guest.until("region: ");
    let mut seen = Vec::new();
    for _ in 0..2 {
        // Each core changes its account meanwhile.
        std::thread::sleep(Duration::from_millis(1500));
        guest.type_in(KEY);
        guest.until(PROMPT);
        let mut counted = |core: u32| -> u64 {
            let time = guest.ask(&format!("time {core}"));
            let ticks = time.strip_prefix(&format!("core {core}: ")).unwrap();
            ticks.split_once(" ticks\n").unwrap().0.parse().unwrap()
        };
        let counted = [counted(0), counted(1)];
        let mut now = || -> u64 {
            let said = guest.ask("call ticks");
            said.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let came = now();
        std::thread::sleep(Duration::from_millis(1500));
        seen.push((counted, came, now()));
        guest.type_in("resume\r");
        guest.until("resume\n");
    }
    let [(before, _, left), (after, came, _)] = seen.try_into().unwrap();
    for core in 0..2 {
        // Of what the prompt itself has taken before and behind it was asked, a little.
        let ran = (came - left) * 11 / 10;
        let counted = after[core] - before[core];
        assert!(
            counted < ran,
            "core {core}: {counted} in {ran}: {}",
            guest.log
        );
    }
}

#[test]
fn a_core_gives_up_what_it_did() {
    let mut guest = Guest::start("idle", 2, "monitor=on test=fault-elsewhere");
    guest.until(PROMPT);
    guest.type_in("idle\r");
    guest.until("monitor: core 1 gives up what it did; the others go on");
    guest.type_in(KEY);
    let said = guest.until(PROMPT);
    assert!(said.contains("monitor: core 0, by key; "), "{said}");
    let backtrace = guest.ask("bt 1");
    assert!(
        frames(&backtrace).contains(&"idle".to_owned()),
        "{backtrace}"
    );
    guest.type_in("reboot\r");
    guest.ended_with(0);
}

#[test]
fn without_the_word_there_is_no_monitor() {
    let mut guest = Guest::start("off", 2, "test=panic");
    guest.type_in(KEY);
    guest.ended_with(37);
    assert!(!guest.log.contains("monitor: "), "{}", guest.log);
    // Nor where nobody could type.
    let mut guest = Guest::start("off", 2, "monitor=on serial=none test=panic");
    guest.ended_with(35);
}
