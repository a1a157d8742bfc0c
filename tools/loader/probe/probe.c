/* A kernel that says what its boot loader gave it: lines on the first serial port, a name
 * and numbers in hexadecimal digits, then the end by QEMU's isa-debug-exit.
 *
 * The tests (tools/pmiscope/tests/guest/loader.rs) build it with:
 *   REVISION=n        the base revision; without, it has no tag
 *   LISTED            its requests are listed in .limine_reqs
 *   FRAMEBUFFER, MODULES, NAMED, OTHERS, MANY, FIVE   what it asks for besides
 *   WEAK              it refers to a symbol that is nowhere
 *   HANG              it does not end
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define REQUEST(name, a, b, revision, ...)                                             \
    __attribute__((used, section(".requests"), aligned(8))) static volatile u64 name[] = { \
        0xc7b1dd30df4c8b88, 0x0a82e883a194f07b, a, b, revision, 0, __VA_ARGS__ }

/* The response's word `n`, its revision being number 0. */
#define RESPONSE(request) ((volatile u64 *)(request)[5])

#ifndef LISTED
__attribute__((used, section(".requests.start"), aligned(8))) static const u64 start[] = {
    0xf6b8f4b39de7d1ae, 0xfab91a6940fcb9cf, 0x785c6ed015d3e316, 0x181e920a7852b9d9
};
__attribute__((used, section(".requests.end"), aligned(8))) static const u64 end[] = {
    0xadc0e0531bb10d03, 0x9572709f31764c62
};
#endif
#ifdef REVISION
__attribute__((used, section(".requests"), aligned(8))) static volatile u64 tag[] = {
    0xf9562b2d5c95a6c8, 0x6a7b384944536bdc, REVISION
};
#endif

REQUEST(hhdm, 0x48dcf1cb8ad2b852, 0x63984e959a98244b, 0, 0);
REQUEST(memory_map, 0x67cf3d9d378a806f, 0xe304acdfc50c3c62, 0, 0);
REQUEST(address, 0x71ba76863cc55f63, 0xb2644a48c516a487, 0, 0);
REQUEST(rsdp, 0xc5e77b6b397e7b43, 0x27637845accdcf3c, 0, 0);
REQUEST(smbios, 0x9e9046f11e095391, 0xaa4a520fefbde5ee, 0, 0);
REQUEST(firmware_type, 0x8c2f75d90bef28a8, 0x7045a4688eac00c3, 0, 0);
#ifdef FIVE
REQUEST(paging, 0x95c1a0edab0944cb, 0xa4e5cb3842f7488a, 1, 1, 1, 0);
REQUEST(cores, 0x95a67b819a1b857e, 0xa0b61b723b6a73e0, 0, 1);
#else
REQUEST(cores, 0x95a67b819a1b857e, 0xa0b61b723b6a73e0, 0, 0);
#endif
#ifdef FRAMEBUFFER
REQUEST(framebuffer, 0x9d5827dcd881dd75, 0xa3148604f6fab11b, 0, 0);
#endif
#ifdef NAMED
struct named {
    const char *path, *string;
    u64 flags;
};
static const struct named first = { "boot/second.img", "as the kernel calls it", 1 };
static const struct named second = { "not-there.img", "", 0 };
static const struct named third = { NAMED, "", 1 };
static const struct named *const named[] = { &first, &second, &third };
REQUEST(modules, 0x3e7e279702be32af, 0xca1c4f3bd1280cee, 1, 3, (u64)named);
#elif defined MODULES
REQUEST(modules, 0x3e7e279702be32af, 0xca1c4f3bd1280cee, 0, 0);
#endif
#ifdef OTHERS
REQUEST(date, 0x502746e184c088aa, 0xfbc5ec83e6327893, 0, 0);
REQUEST(performance, 0x6b50ad9bf36d13ad, 0xdc4c7e88fc759e17, 0, 0);
REQUEST(iommu, 0x8ebaabe51f490179, 0x2aa86a59ffb4ab0f, 0, 0);
REQUEST(efi_table, 0x5ceba5163eaaf6d6, 0x0a6981610cf65fcc, 0, 0);
REQUEST(device_tree, 0xb40ddb48fb54bac7, 0x545081493f81ffb7, 0, 0);
REQUEST(unknown, 0x0123456789abcdef, 0xfedcba9876543210, 0, 0);
#endif
#ifdef WEAK
/* A symbol that the linker leaves to others. */
extern int nowhere __attribute__((weak, visibility("default")));
__attribute__((used)) static int *const volatile pointer = &nowhere;
#endif
#ifdef LISTED
__attribute__((used, section(".limine_reqs"))) static volatile void *const list[] = {
    hhdm, memory_map, address, rsdp, cores, 0
};
#endif

/* What the entry found, before anything changed it. */
u64 entry_flags, entry_stack, entry_return, entry_registers, entry_argument;

void probe(void) __attribute__((visibility("hidden")));

/* The or of all general registers but the stack pointer; rdi is the argument. */
__asm__(".intel_syntax noprefix\n"
        ".text\n"
        ".global _start, other\n"
        "_start:\n"
        "    pushfq\n"
        "    pop [rip + entry_flags]\n"
        "    mov [rip + entry_stack], rsp\n"
        "    or rax, rbx\n    or rax, rcx\n    or rax, rdx\n    or rax, rsi\n    or rax, rbp\n"
        "    or rax, r8\n    or rax, r9\n    or rax, r10\n    or rax, r11\n"
        "    or rax, r12\n    or rax, r13\n    or rax, r14\n    or rax, r15\n"
        "    mov [rip + entry_registers], rax\n"
        "    mov [rip + entry_argument], rdi\n"
        "    mov rax, [rsp]\n"
        "    mov [rip + entry_return], rax\n"
        "    and rsp, -16\n"
        "    call probe\n"
        ".att_syntax\n");
extern void _start(void) __attribute__((visibility("hidden")));

static void out(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static void text(const char *string)
{
    while (*string) out(0x3f8, *string++);
}

static void number(u64 value)
{
    int shift = 60;
    while (shift > 0 && !(value >> shift)) shift -= 4;
    out(0x3f8, ' ');
    for (; shift >= 0; shift -= 4) out(0x3f8, "0123456789abcdef"[value >> shift & 15]);
}

static void line(const char *name, int count, const u64 *values)
{
    text(name);
    for (int n = 0; n < count; n++) number(values[n]);
    out(0x3f8, '\n');
}

#define SAY(name, ...)                                        \
    do {                                                      \
        const u64 values[] = { __VA_ARGS__ };                 \
        line(name, sizeof values / sizeof *values, values);   \
    } while (0)

static u64 msr(u32 number)
{
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return (u64)high << 32 | low;
}

#define CONTROL(number)                                                    \
    ({                                                                     \
        u64 value;                                                         \
        __asm__ volatile("mov %%cr" #number ", %0" : "=r"(value));         \
        value;                                                             \
    })

static u64 base_of_map(void) { return RESPONSE(hhdm)[1]; }

/* The entry that maps an address, or 0; `*size` is what it maps. */
static u64 entry_of(u64 address, u64 *size)
{
    u64 table = CONTROL(3) & ~0xfffUL;
    for (int shift = 39; shift >= 12; shift -= 9) {
        u64 entry = ((volatile u64 *)(base_of_map() + table))[address >> shift & 511];
        *size = 1UL << shift;
        if (!(entry & 1)) return 0;
        if (shift == 12 || (shift < 39 && entry & 0x80)) return entry;
        table = entry & 0x000ffffffffff000;
    }
    return 0;
}

static u64 is_mapped(u64 address)
{
    u64 size;
    return entry_of(address, &size) != 0;
}

/* Whether what maps an address is of caching mode 5: bits PAT and PWT, without PCD. */
static u64 caching_of(u64 address)
{
    u64 size, entry = entry_of(address, &size);
    u64 high = size == 0x1000 ? entry >> 7 & 1 : entry >> 12 & 1;
    return high << 2 | (entry >> 4 & 1) << 1 | (entry >> 3 & 1);
}

/* The gigabyte below 4 GiB, where devices are, mapped for the probe itself. */
static volatile u64 own_table[512] __attribute__((aligned(4096)));
#define DEVICES 0x0000008000000000UL

static void map_devices(void)
{
    u64 physical = (u64)own_table - RESPONSE(address)[2] + RESPONSE(address)[1];
    own_table[3] = 0xc0000000 | 0x80 | 0x10 | 3;
    ((volatile u64 *)(base_of_map() + (CONTROL(3) & ~0xfffUL)))[1] = physical | 3;
}

static u32 local_apic(u32 offset)
{
    /* In x2APIC mode. */
    if (msr(0x1b) & 0x400) return msr(0x800 + (offset >> 4));
    return *(volatile u32 *)(DEVICES + 0xfee00000 + offset);
}

/* An IO APIC's register. */
static u32 io_apic(u32 number)
{
    *(volatile u32 *)(DEVICES + 0xfec00000) = number;
    return *(volatile u32 *)(DEVICES + 0xfec00010);
}

struct state {
    u64 control[3], selectors[6], tables[4], task[3], bases[2], apic[9];
};

static void read_state(struct state *state)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) gdt, idt;
    u64 task = 0, local = 0, task_limit = ~0UL;
    __asm__ volatile("sgdt %0" : "=m"(gdt));
    __asm__ volatile("sidt %0" : "=m"(idt));
    __asm__ volatile("str %0" : "=r"(task));
    __asm__ volatile("sldt %0" : "=r"(local));
    __asm__ volatile("lsl %1, %0" : "+r"(task_limit) : "r"(task));
    const u64 control[] = { CONTROL(0), CONTROL(4), msr(0xc0000080) };
    for (int n = 0; n < 3; n++) state->control[n] = control[n];
#define SELECTOR(n, name) __asm__ volatile("mov %%" name ", %0" : "=r"(state->selectors[n]))
    SELECTOR(0, "cs");
    SELECTOR(1, "ds");
    SELECTOR(2, "es");
    SELECTOR(3, "fs");
    SELECTOR(4, "gs");
    SELECTOR(5, "ss");
    state->tables[0] = idt.base, state->tables[1] = idt.limit;
    /* Where the GDT is: in the direct map, whose base is known; and the descriptors. */
    state->tables[2] = is_mapped(gdt.base) && gdt.base >= base_of_map();
    state->tables[3] = gdt.limit >= 7 * 8 - 1;
    state->task[0] = task_limit, state->task[1] = local;
    /* The base of the task's segment, if there is one. */
    const u32 *low = (const u32 *)(gdt.base + (task & 0xfff8));
    state->task[2] = task ? low[0] >> 16 | (low[1] & 0xff) << 16 | (low[1] & 0xff000000) : 0;
    state->bases[0] = msr(0xc0000100), state->bases[1] = msr(0xc0000101);
    const u32 registers[] = { 0xf0, 0x80, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370 };
    state->apic[0] = msr(0x1b) & 0xc00;
    for (int n = 0; n < 8; n++) state->apic[n + 1] = local_apic(registers[n]);
}

static void say_state(const char *core, const struct state *state)
{
#define ALL(name, member)                                                       \
    do {                                                                        \
        text(core);                                                             \
        line(name, sizeof state->member / sizeof *state->member, state->member); \
    } while (0)
    ALL("control", control);
    ALL("selectors", selectors);
    ALL("tables", tables);
    ALL("task", task);
    ALL("bases", bases);
    ALL("apic", apic);
}

static struct state first_state, other_state;
static volatile u64 other_is_done;

void other_core(void)
{
    read_state(&other_state);
    other_is_done = 1;
    for (;;) __asm__ volatile("hlt");
}

static void say_entry(const char *name)
{
    SAY(name, entry_flags, entry_return, entry_registers);
}

static void say_memory(void)
{
    u64 count = RESPONSE(memory_map)[1];
    u64 **entries = (u64 **)RESPONSE(memory_map)[2];
    for (u64 n = 0; n < count; n++) {
        u64 *entry = entries[n], place = base_of_map() + entry[0];
        SAY("map", entry[0], entry[1], entry[2], is_mapped(place),
            is_mapped(place + entry[1] - 1), caching_of(place));
    }
    /* No region, and below 4 GiB; then page 0; then what is mapped to itself. */
    SAY("elsewhere", is_mapped(base_of_map() + 0xfee00000), is_mapped(base_of_map()),
        is_mapped(0), is_mapped(0x1000), is_mapped(0xfee00000));
}

static void say_tables(void)
{
    u64 high = base_of_map();
    if (RESPONSE(rsdp)) {
        u64 place = RESPONSE(rsdp)[1];
        SAY("rsdp", place >= high, is_mapped(place), place & 0xffffffff);
    }
    if (RESPONSE(smbios)) {
        u64 narrow = RESPONSE(smbios)[1], wide = RESPONSE(smbios)[2];
        u64 place = narrow ? narrow : wide;
        SAY("smbios", place >= high, is_mapped(place), place & 0xffffffff, wide);
        if (narrow >= high && is_mapped(narrow)) {
            u64 structures = *(volatile u32 *)(narrow + 24);
            SAY("structures", structures, is_mapped(high + structures));
        }
    }
    if (RESPONSE(firmware_type)) SAY("firmware", RESPONSE(firmware_type)[1]);
}

static void say_cores(void)
{
    u64 count = RESPONSE(cores)[2];
    u64 **all = (u64 **)RESPONSE(cores)[3];
    SAY("cores", RESPONSE(cores)[1] & 1, count);
    for (u64 n = 0; n < count; n++) {
        u32 id = all[n][0] >> 32;
        if (id == RESPONSE(cores)[1] >> 32) continue;
        __asm__ volatile("" ::: "memory");
        ((volatile u64 *)all[n])[2] = (u64)_start;
        while (!other_is_done) __asm__ volatile("pause");
        SAY("other.argument", entry_argument == (u64)all[n]);
        say_entry("other.entry");
        say_state("other.", &other_state);
        return;
    }
}

static const char *const volatile pointers[] = { "one", "two", "three" };

static void say_image(void)
{
    u64 here;
    __asm__("leaq _start(%%rip), %0" : "=r"(here));
    SAY("image", RESPONSE(address)[2], here, RESPONSE(address)[1] & 0xfff);
    text(pointers[0]), text(pointers[1]), text(pointers[2]);
    SAY("", (u64)_start == here);
}

static void say_others(void)
{
#ifdef FRAMEBUFFER
    if (RESPONSE(framebuffer)) {
        u64 *screen = *(u64 **)RESPONSE(framebuffer)[2];
        SAY("framebuffer", RESPONSE(framebuffer)[0], RESPONSE(framebuffer)[1],
            screen[0] - base_of_map(), screen[1], screen[2], screen[3], screen[4], screen[5],
            screen[8], caching_of(screen[0]));
        u32 *pixel = (u32 *)(screen[0] + 3 * screen[3]) + 5;
        *pixel = 0x00c0ffee;
        SAY("pixel", (u64)pixel - base_of_map(), *pixel);
    }
#endif
#if defined MODULES || defined NAMED
    if (RESPONSE(modules)) {
        SAY("modules", RESPONSE(modules)[0], RESPONSE(modules)[1]);
        for (u64 n = 0; n < RESPONSE(modules)[1]; n++) {
            u64 *file = ((u64 **)RESPONSE(modules)[2])[n], sum = 0;
            const u8 *bytes = (const u8 *)file[1];
            for (u64 at = 0; at < file[2]; at++) sum = sum * 31 + bytes[at];
            text("module "), text((const char *)file[3]), text(" ["), text((const char *)file[4]);
            SAY("]", file[2], sum, file[1] & 0xfff, file[5]);
        }
    }
#endif
#ifdef OTHERS
    SAY("date", RESPONSE(date)[1]);
    SAY("performance", RESPONSE(performance)[1], RESPONSE(performance)[2],
        RESPONSE(performance)[3]);
    SAY("answered", !!iommu[5], !!efi_table[5], !!device_tree[5], !!unknown[5]);
#endif
#ifdef FIVE
    SAY("paging", RESPONSE(paging)[1]);
#endif
}

void probe(void)
{
    static volatile u64 entered;
    if (entered++) other_core();
    text("probe\n");
#ifdef REVISION
    SAY("revision", tag[1], tag[2]);
#endif
#ifdef HANG
    for (;;) __asm__ volatile("hlt");
#endif
    say_image();
    say_entry("entry");
    SAY("stack", entry_stack >= base_of_map(), entry_stack & 7, is_mapped(entry_stack - 0xf000));
    SAY("hhdm", base_of_map());
    SAY("pat", msr(0x277) & 0xffffffffffff);
    map_devices();
    read_state(&first_state);
    say_state("", &first_state);
    u64 open = 0, last = io_apic(1) >> 16 & 0xff;
    for (u64 n = 0; n <= last; n++) open += !(io_apic(0x10 + 2 * n) >> 16 & 1);
    SAY("io-apic", last + 1, open);
    say_memory();
    say_tables();
    say_cores();
    say_others();
    text("end\n");
    out(0xf4, 0x10);
    for (;;) __asm__ volatile("hlt");
}
