//! A few instructions to replay, and what a core would have sampled of them.

use profiler::address::{CodeAddress, CodeRange, StackAddress};
use profiler::format::sample::Chain;
use profiler::format::{ChainEnd, ChainEntry, Sample, State};

use crate::chain::Link;
use crate::symbols::callframe::{Caller, Callers};
use crate::symbols::{self, LinkAddress};
use crate::verify::code::Code;
use crate::verify::difference::{Kind, Verdict};
use crate::verify::replay::{Assumed, Replay, Setup};

/// Where the code is, each function by its instructions.
pub(super) const ROOT_CALL: u64 = 0x1000; // call outer
pub(super) const TO_ROOT: u64 = 0x1005;
/// What a new stack returns to: a root that nobody has called.
pub(super) const NEW: Link = Link::Return(CodeAddress(ROOT_CALL));
pub(super) const OUTER: u64 = 0x1100; // push rbp
pub(super) const OUTER_MOV: u64 = 0x1101; // mov rbp, rsp
pub(super) const OUTER_CALL: u64 = 0x1104; // call inner
pub(super) const TO_OUTER: u64 = 0x1109; // sti
pub(super) const OUTER_NOP: u64 = 0x110a; // nop
pub(super) const OUTER_POP: u64 = 0x110b; // pop rbp
pub(super) const OUTER_RET: u64 = 0x110c;
pub(super) const INNER: u64 = 0x1200; // nop
pub(super) const INNER_RET: u64 = 0x1201;
pub(super) const ENTRY: u64 = 0x1300; // push 0
pub(super) const ENTRY_PUSH: u64 = 0x1302; // push 0x41
pub(super) const ENTRY_JMP: u64 = 0x1304; // jmp handler
pub(super) const HANDLER: u64 = 0x1400; // add rsp, 16
pub(super) const HANDLER_IRET: u64 = 0x1404;
pub(super) const SWITCH: u64 = 0x1500; // mov rsp, rsi
pub(super) const SWITCH_RET: u64 = 0x1503;
pub(super) const CALLER: u64 = 0x1520; // call rax
pub(super) const TO_CALLER: u64 = 0x1522;
pub(super) const UNWIND: u64 = 0x1530; // mov rsp, rsi
pub(super) const UNWIND_SUB: u64 = 0x1533; // sub rsp, 16
pub(super) const UNWIND_NOP: u64 = 0x1537;

/// SYSCALL's entry, and the exit by SYSRET right behind it.
pub(super) const CALL_ENTRY: u64 = 0x1340; // swapgs
pub(super) const CALL_SWITCH: u64 = 0x1343; // mov rsp, rsi
pub(super) const CALL_PUSH: u64 = 0x1346; // push rcx
pub(super) const CALL_PUSHED: u64 = 0x1347; // nop
pub(super) const CALL_LEAVE: u64 = 0x1348; // mov rsp, [rsp + 24]
pub(super) const CALL_SYSRET: u64 = 0x134d;

/// Another entry, which throws its stack away and makes what an interrupt would have pushed anew.
pub(super) const ANEW_ENTRY: u64 = 0x1360; // swapgs
pub(super) const ANEW_SWITCH: u64 = 0x1363; // mov rsp, rsi
pub(super) const ANEW_PUSH: u64 = 0x1366; // push rcx
pub(super) const ANEW_PUSHED: u64 = 0x1367; // mov rsp, rsi
pub(super) const ANEW_EMPTY: u64 = 0x136a; // sub rsp, 40
pub(super) const ANEW_IRET: u64 = 0x136e;

/// A program, by its number.
pub(super) const PROGRAM: u16 = 3;
pub(super) const USER_CALL: u64 = 0x3_0000_0040_0000; // call 0x400010
pub(super) const TO_USER: u64 = USER_CALL + 5;
pub(super) const USER_SYSCALL: u64 = USER_CALL + 0x10;
pub(super) const USER_RET: u64 = USER_CALL + 0x12;

/// The vector that the entry pushes.
pub(super) const VECTOR: u8 = 0x41;

/// Bytes of a stack.
pub(super) const SLOT: u64 = 0x1_0000;
/// The ends of three stacks.
pub(super) const STACK: u64 = 0x20_0000;
pub(super) const HANDLER_STACK: u64 = 0x21_0000;
pub(super) const OTHER_STACK: u64 = 0x22_0000;

pub(super) fn code() -> symbols::Code {
    let mut bytes = vec![0xcc; 0x600];
    let mut put = |at: u64, instructions: &[u8]| {
        let at = usize::try_from(at - 0x1000).unwrap();
        bytes[at..at + instructions.len()].copy_from_slice(instructions);
    };
    put(ROOT_CALL, &[0xe8, 0xfb, 0, 0, 0, 0x0f, 0x0b]);
    put(OUTER, &[0x55, 0x48, 0x89, 0xe5]);
    put(OUTER_CALL, &[0xe8, 0xf7, 0, 0, 0, 0xfb, 0x90, 0x5d, 0xc3]);
    put(INNER, &[0x90, 0xc3]);
    put(ENTRY, &[0x6a, 0, 0x6a, VECTOR, 0xe9, 0xf7, 0, 0, 0]);
    put(
        CALL_ENTRY,
        &[0x0f, 0x01, 0xf8, 0x48, 0x89, 0xf4, 0x51, 0x90],
    );
    put(CALL_LEAVE, &[0x48, 0x8b, 0x64, 0x24, 24, 0x48, 0x0f, 0x07]);
    put(ANEW_ENTRY, &[0x0f, 0x01, 0xf8, 0x48, 0x89, 0xf4, 0x51]);
    put(
        ANEW_PUSHED,
        &[0x48, 0x89, 0xf4, 0x48, 0x83, 0xec, 40, 0x48, 0xcf],
    );
    put(HANDLER, &[0x48, 0x83, 0xc4, 0x10, 0x48, 0xcf]);
    put(SWITCH, &[0x48, 0x89, 0xf4, 0xc3]);
    put(CALLER, &[0xff, 0xd0]);
    put(UNWIND, &[0x48, 0x89, 0xf4, 0x48, 0x83, 0xec, 0x10, 0x90]);
    symbols::Code::of_bytes(LinkAddress(0x1000), bytes)
}

/// Chains come complete here: nothing needs to be repaired.
fn callers(root: Caller) -> Callers {
    Callers::of_functions(&[
        &[(ROOT_CALL - 1, root), (0x1010, Caller::Unknown)],
        &[(OUTER, Caller::InFrame), (0x1110, Caller::Unknown)],
        &[(INNER, Caller::InFrame), (0x1210, Caller::Unknown)],
        &[
            (ENTRY, Caller::Pushed(0)),
            (ENTRY_PUSH, Caller::Pushed(1)),
            (ENTRY_JMP, Caller::Pushed(2)),
            (0x1310, Caller::Unknown),
        ],
        &[(CALL_ENTRY, Caller::InRcx), (CALL_PUSHED, Caller::Unknown)],
        &[
            (CALL_PUSHED, Caller::Pushed(0)),
            (CALL_SYSRET, Caller::InRcx),
            (CALL_SYSRET + 3, Caller::Unknown),
        ],
        &[
            (ANEW_ENTRY, Caller::InRcx),
            (ANEW_PUSHED, Caller::Pushed(0)),
            (ANEW_EMPTY, root),
            (ANEW_IRET, Caller::Pushed(0)),
            (ANEW_IRET + 2, Caller::Unknown),
        ],
        &[
            (HANDLER, Caller::Pushed(2)),
            (HANDLER_IRET, Caller::Pushed(0)),
            (0x1410, Caller::Unknown),
        ],
    ])
    .and_program(PROGRAM, program(), program_code())
}

const PROGRAM_START: u64 = 0x40_0000;

fn program_code() -> symbols::Code {
    let mut bytes = vec![0xcc; 0x20];
    bytes[..5].copy_from_slice(&[0xe8, 0x0b, 0, 0, 0]);
    bytes[0x10..0x13].copy_from_slice(&[0x0f, 0x05, 0xc3]);
    symbols::Code::of_bytes(LinkAddress(PROGRAM_START), bytes)
}

/// Its first function is the root of its stack.
fn program() -> Callers {
    Callers::of_functions(&[&[
        (PROGRAM_START, Caller::None),
        (PROGRAM_START + 0x10, Caller::InFrame),
        (PROGRAM_START + 0x20, Caller::Unknown),
    ]])
}

/// A return to the program.
pub(super) fn to_user(address: u64) -> Link {
    Link::UserReturn(CodeAddress(address))
}

/// Where the program was left.
pub(super) fn border(vector: Option<u8>, pc: u64) -> Link {
    Link::Border {
        vector,
        pc: CodeAddress(pc),
    }
}

pub(super) fn to(address: u64) -> Link {
    Link::Return(CodeAddress(address))
}

pub(super) fn interrupted(pc: u64) -> Link {
    Link::Interrupted {
        vector: VECTOR,
        pc: CodeAddress(pc),
    }
}

/// Cores that are replayed, one at a time.
pub(super) struct Core<'a> {
    replay: Replay<'a>,
    /// Which one it is now.
    pub(super) number: usize,
    pub(super) sequence: u32,
}

impl Core<'_> {
    /// Replays a sample: what came of it.
    pub(super) fn see(
        &mut self,
        pc: u64,
        sp: u64,
        top: [u64; 2],
        chain: &[Link],
        end: ChainEnd,
    ) -> Verdict {
        let mut words = Chain::new();
        for &link in chain {
            let entry = match link {
                Link::Return(address) | Link::UserReturn(address) => ChainEntry::Return(address),
                Link::Border { vector, pc } => ChainEntry::Border {
                    vector,
                    pc,
                    stack_top: [0; 2],
                },
                Link::Interrupted { vector, pc } => ChainEntry::Crossing {
                    vector,
                    pc,
                    caller_known: true,
                    stack_top: [0; 2],
                },
            };
            words.push(entry).unwrap();
        }
        let sample = Sample {
            sequence: self.sequence,
            handler_cost: 0,
            event: 0,
            task: 0,
            state: if (USER_CALL..USER_CALL + 0x1000).contains(&pc) {
                State(State::RING)
            } else {
                State::default()
            },
            time: 0,
            period: 1,
            sp: StackAddress(sp),
            stack_top: top,
            pc: CodeAddress(pc),
            exact: None,
            end,
            chain_words: words.words(),
        };
        self.sequence += 1;
        self.replay.step(self.number, &sample).0
    }

    /// The same of a chain that is said to be complete and has to be right.
    #[track_caller]
    pub(super) fn right(&mut self, pc: u64, sp: u64, top: [u64; 2], chain: &[Link]) {
        let verdict = self.see(pc, sp, top, chain, ChainEnd::Complete);
        assert_eq!(verdict, Verdict::Exact, "{pc:#x}");
    }

    /// The same of one that has to be found wrong.
    #[track_caller]
    pub(super) fn wrong(&mut self, pc: u64, sp: u64, top: [u64; 2], chain: &[Link], kind: Kind) {
        let verdict = self.see(pc, sp, top, chain, ChainEnd::Complete);
        assert_eq!(verdict, Verdict::Different(kind), "{pc:#x}");
    }

    /// From the root's call into `inner`.
    pub(super) fn run_to_inner(&mut self) {
        self.right(ROOT_CALL, STACK - 16, [0; 2], &[]);
        self.right(OUTER, STACK - 24, [TO_ROOT, 0], &[to(TO_ROOT)]);
        self.right(OUTER_MOV, STACK - 32, [0, TO_ROOT], &[to(TO_ROOT)]);
        self.right(OUTER_CALL, STACK - 32, [0, TO_ROOT], &[to(TO_ROOT)]);
        let inner = [to(TO_OUTER), to(TO_ROOT)];
        self.right(INNER, STACK - 40, [TO_OUTER, 0], &inner);
    }
}

/// Replays what `run` sees; gives what had to be assumed.
pub(super) fn replay(is_stepped: bool, run: impl FnOnce(&mut Core<'_>)) -> Assumed {
    replay_of(&callers(Caller::None), is_stepped, run)
}

/// The same in a kernel of which nothing says where its stacks have their roots.
pub(super) fn replay_without_roots(run: impl FnOnce(&mut Core<'_>)) -> Assumed {
    replay_of(&callers(Caller::Unknown), false, run)
}

fn replay_of(callers: &Callers, is_stepped: bool, run: impl FnOnce(&mut Core<'_>)) -> Assumed {
    let bytes = code();
    let mut code = Code::new(&bytes, callers);
    let text = CodeRange {
        start: CodeAddress(0x1000),
        end: CodeAddress(0x2000),
    };
    let setup = Setup {
        callers,
        code: &mut code,
        text,
        is_stepped,
    };
    let mut core = Core {
        replay: Replay::new(setup, SLOT, 2),
        number: 0,
        sequence: 7,
    };
    run(&mut core);
    core.replay.assumed
}
