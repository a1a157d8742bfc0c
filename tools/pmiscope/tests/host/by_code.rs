//! Where return addresses are, according to instructions alone: assembly that does what
//! compilers do, and what they do not.

use pmiscope::internals::Caller;

use crate::compiled::link;

/// Functions; `at_X` is a place whose answer is known.
const SOURCE: &str = r#"
.intel_syntax noprefix
.macro function name
    .globl \name
    .type \name, @function
\name:
.endm
.macro end name
    .size \name, . - \name
.endm
.text

function leaf
    nop
at_leaf:
    nop
at_leaf_end:
    ret
end leaf

function framed
at_framed_start:
    push rbp
at_framed_pushed:
    mov rbp, rsp
at_framed:
    push rbx
    sub rsp, 24
at_framed_deep:
    call leaf
    add rsp, 24
    pop rbx
at_framed_last:
    pop rbp
at_framed_popped:
    ret
end framed

function frameless
    push rbx
at_pushed_one:
    push r12
at_pushed_two:
    sub rsp, 8
at_pushed_three:
    lea rsp, [rsp + 8]
    pop r12
    pop rbx
at_popped_all:
    ret
end frameless

function variable
    push rbp
    mov rbp, rsp
    sub rsp, rdi
at_variable_framed:
    lea rsp, [rbp - 8]
    and rsp, -32
at_aligned:
    leave
at_left:
    ret
end variable

function variable_without_frame
at_variable_start:
    mov rax, rsp
    sub rsp, rdi
at_variable:
    mov rsp, rax
    ret
end variable_without_frame

function two_depths
    test edi, edi
    je 1f
at_one_depth:
    push rax
1:
at_two_depths:
    nop
    ud2
end two_depths

function calls_two_depths
    call two_depths
at_behind_call:
    ret
end calls_two_depths

/* Entered by interrupts, whatever their type says. */
function interrupt
at_interrupt:
    push rax
    pop rax
    iretq
end interrupt
function stub
at_stub:
    push 0
    push 33
at_stub_pushed:
    jmp common
end stub
function common
at_common:
    push rax
    call leaf
    pop rax
    add rsp, 16
    iretq
end common
function clean_stub
at_clean_stub:
    jmp common
end clean_stub

function jumps_by_return
    push rax
at_jumps_by_return:
    ret
end jumps_by_return

/* Labels, of which the second is not called. */
.globl label, label_within
label:
    push rbx
label_within:
at_within:
    nop
    pop rbx
    ret

function entered
at_entered:
    nop
into:
    nop
    ret
end entered
function enters
    push rax
    jmp into
end enters

function warm
    push rbp
    mov rbp, rsp
    test edi, edi
    jne warm.cold
back:
    pop rbp
    ret
end warm
.type warm.cold, @function
warm.cold:
at_cold:
    nop
    jmp back
.size warm.cold, . - warm.cold

function table
at_table_start:
    push rbp
at_table_pushed:
    mov rbp, rsp
    push rbx
at_table_jump:
    jmp [rax * 8 + cases]
first_case:
at_first_case:
    mov eax, 1
    jmp 1f
second_case:
at_second_case:
    mov eax, 2
1:
    pop rbx
    pop rbp
at_table_end:
    ret
end table

/* A jump to what is not known, and nothing that contradicts any target. */
function anywhere
    push rax
at_anywhere:
    jmp rax
end anywhere
function calls_anywhere
    call anywhere
    ret
end calls_anywhere

function never_called
at_never_called:
    nop
    jmp never_called
end never_called
function called_for_ever
at_called_for_ever:
    hlt
    jmp called_for_ever
end called_for_ever
function calls_for_ever
    call called_for_ever
    ud2
end calls_for_ever
function leaves
at_leaves:
    mov rdi, [rdi]
    jmp framed
end leaves

function asks_where_it_is
    call 1f
1:
at_asked:
    pop rax
    ret
end asks_where_it_is

function switches
at_switches:
    push rbp
    mov [rdi], rsp
    mov rsp, rsi
at_switched:
    pop rbp
    ret
end switches

function plain_register
    push rbp
    mov rbp, rdi
at_plain_register:
    pop rbp
    ret
end plain_register

function starts_stack
    xor ebp, ebp
at_starts_stack:
    call leaf
    ret
end starts_stack

/* What is called does not return, and what is behind belongs to another depth. */
function fails_in_midst
    test edi, edi
    jne 1f
    push rbx
    test esi, esi
    je 2f
    pop rbx
1:
    ret
2:
    call fails
3:
at_behind_failure:
    nop
    jmp 1b
end fails_in_midst
function fails
    ud2
end fails

function odd
    sub rsp, 4
at_odd:
    add rsp, 4
    ret
end odd

/* The frame pointer is saved, but not where a frame has it. */
function saves_late
    push rbx
    push rbp
    mov rbp, rsp
at_saves_late:
    pop rbp
    pop rbx
    ret
end saves_late

.section .rodata
cases: .quad first_case, second_case
.section .note.GNU-stack,"",@progbits
"#;

/// What is known at each place.
const ANSWERS: [(&str, Caller); 49] = {
    use Caller::{InFrame, OnTop, OutOfReach, Unknown};
    [
        ("at_leaf", OnTop(0)),
        ("at_leaf_end", OnTop(0)),
        ("at_framed_start", OnTop(0)),
        ("at_framed_pushed", OnTop(1)),
        ("at_framed", InFrame),
        ("at_framed_deep", InFrame),
        ("at_framed_last", InFrame),
        ("at_framed_popped", OnTop(0)),
        ("at_pushed_one", OnTop(1)),
        ("at_pushed_two", OutOfReach),
        ("at_pushed_three", OutOfReach),
        ("at_popped_all", OnTop(0)),
        ("at_variable_framed", InFrame),
        ("at_aligned", InFrame),
        ("at_left", OnTop(0)),
        ("at_variable_start", Unknown),
        ("at_variable", Unknown),
        ("at_one_depth", OnTop(0)),
        ("at_two_depths", Unknown),
        ("at_behind_call", OnTop(0)),
        ("at_interrupt", Unknown),
        ("at_stub", Unknown),
        ("at_stub_pushed", Unknown),
        ("at_common", Unknown),
        ("at_clean_stub", Unknown),
        ("at_jumps_by_return", Unknown),
        ("at_within", Unknown),
        ("at_entered", Unknown),
        ("into", Unknown),
        ("at_cold", InFrame),
        ("at_table_start", OnTop(0)),
        ("at_table_pushed", OnTop(1)),
        ("at_table_jump", InFrame),
        ("at_first_case", InFrame),
        ("at_second_case", InFrame),
        ("at_table_end", OnTop(0)),
        ("at_anywhere", OnTop(1)),
        ("anywhere", Unknown),
        ("at_never_called", Unknown),
        ("at_called_for_ever", OnTop(0)),
        ("at_leaves", OnTop(0)),
        ("at_asked", Unknown),
        ("at_switches", Unknown),
        ("at_switched", Unknown),
        ("at_plain_register", OnTop(1)),
        ("at_starts_stack", Unknown),
        ("at_behind_failure", Unknown),
        ("at_odd", Unknown),
        ("at_saves_late", OutOfReach),
    ]
};

#[test]
fn instructions_say_where_return_addresses_are_and_doubt_is_unknown() {
    let kernel = link("by-code", "s", SOURCE, &[]);
    let symbols = kernel.symbols();
    let callers = symbols.callers();
    assert!(callers.is_empty(), "else instructions are not asked");
    let wrong: Vec<_> = ANSWERS
        .iter()
        .map(|&(place, expected)| (place, callers.of(kernel.at(place)), expected))
        .filter(|(_, said, expected)| said != expected)
        .collect();
    assert!(wrong.is_empty(), "place, said, expected: {wrong:#?}");
    // Between two instructions is none.
    let behind = profiler::address::CodeAddress(kernel.at("at_framed_pushed").0 + 1);
    assert_eq!(callers.of(behind), Caller::Unknown);
}
