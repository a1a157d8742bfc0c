/* A small "kernel" whose frames are known: compiled by the tests, never run.
   The labels are places to look up; having no type they name no function. */

#define LABEL(name) __asm__ volatile(".globl " #name "\n" #name ": nop")

/* A mangled name, as rustc makes them. */
void hash(void) __asm__("_RNvNtNtCs1234_6kernel8workload4hash3run");
void idle(void) __attribute__((noreturn));
void never_returns(void) __attribute__((noreturn, noinline));

static inline __attribute__((always_inline)) void innermost(void) {
  LABEL(in_innermost);
}

static inline __attribute__((always_inline)) void middle(void) {
  innermost();
  LABEL(in_middle);
}

void hash(void) {
  middle();
  LABEL(in_hash);
}

void never_returns(void) {
  LABEL(in_never_returns);
  for (;;) {
  }
}

/* Its last instruction is the call: the return address is the next function's. */
void idle(void) {
  LABEL(in_idle);
  never_returns();
}

#ifdef BARE
#define FRAME
#define END
#else
#define FRAME ".cfi_startproc\n.cfi_def_cfa rbp, 16\n"
#define END ".cfi_endproc\n"
#endif

/* What DWARF does not know: assembly, with a size and without. */
__asm__(".text\n"
        ".globl stub\n.type stub, @function\n"
        "stub: " FRAME "nop\nnop\n.size stub, . - stub\n"
        END
        "nop\n"
        ".globl unsized\n.type unsized, @function\n"
        "unsized: nop\nnop\n");

#ifndef BARE
/* Code that has no caller, and says so. */
__asm__(".text\n"
        ".globl root\n.type root, @function\n"
        "root: .cfi_startproc\n.cfi_undefined rip\nnop\n"
        ".globl in_root\nin_root: nop\nud2\n"
        ".cfi_endproc\n.size root, . - root\n");
#endif

#ifdef OTHER
int another_kernel;
#endif

void _start(void) {
  hash();
  idle();
}

/* What says that a kernel has the sampler in it. */
#ifndef WITHOUT_SAMPLER
static const char magic[] __attribute__((used)) = "\x93" "pmiscope rings\n";
#endif
