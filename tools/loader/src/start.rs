//! From QEMU's entry to the kernel's.

use core::convert::Infallible;
use core::panic::PanicInfo;

use arrayvec::ArrayVec;
use loader::answers::{self, Cores, Facts, File, Machine, id};
use loader::executable::Executable;
use loader::memory_map::{Kind, MemoryMap, PAGE};
use loader::modules::{MAX_MODULES, Modules};
use loader::pvh::{self, Block, Module, StartInfo};
use loader::requests::{Image, Requests};
use loader::unanswered::Unanswered;
use loader::{Error, Result, direct_map};
use x86_64::PhysAddr;
use x86_64::structures::paging::{PageSize, Size2MiB};

use crate::firmware::Firmware;
use crate::given::Given;
use crate::machine::memory::{Memory, is_mapped, left_by_others, string_left_by_others};
use crate::machine::{Features, console, cores, entry, mask_pic, paging};

/// What the first core runs, interrupts off, on the loader's stack.
pub extern "C" fn first_core(start_info: u32) -> ! {
    match start(PhysAddr::new(start_info.into())) {
        Ok(never) => match never {},
        Err(error) => console::fail(error),
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    console::fail(format_args!(
        "an error of the loader itself, please report it: {info}"
    ))
}

fn start(start_info: PhysAddr) -> Result<Infallible> {
    let features = Features::read();
    features.enable();
    entry::load_task_register();

    let info = StartInfo::parse(left(Block {
        start: start_info,
        size: StartInfo::SIZE,
    })?)?;
    let loaded: ArrayVec<Module, { MAX_MODULES + 1 }> = pvh::modules(left(info.modules)?)
        .take(MAX_MODULES + 1)
        .collect();
    let (kernel, modules) = loaded.split_first().ok_or(Error::NoModule)?;
    let mut map = MemoryMap::new(pvh::memory_map(left(info.memory_map)?))?;
    claim_what_is_in_use(&mut map, start_info, &info, kernel, modules)?;
    // SAFETY: nothing else that is in use lies in memory called usable, and this
    // runs once.
    let mut memory = unsafe { Memory::new(map) };

    let firmware = Firmware::find(info.rsdp);
    let mut given = Given::find();
    let seed = given.seed()?;
    let executable = Executable::parse(module(kernel)?, seed)?;
    if seed.is_some() {
        console::say(format_args!(
            "the kernel is moved by {:#x}",
            executable.slide
        ));
    }
    let image = memory.allocate(
        executable.size(),
        Size2MiB::SIZE,
        Kind::ExecutableAndModules,
    )?;
    executable.load(image.bytes)?;
    let requests = Requests::scan(Image {
        bytes: image.bytes,
        start: executable.start(),
        from_file: executable.from_file(),
        list: executable.request_list,
    })?;
    answers::check_paging_mode(&requests)?;

    let mut files: ArrayVec<_, MAX_MODULES> = modules.iter().map(file).collect();
    given.add_modules(&mut memory, &mut files)?;
    let facts = Facts {
        executable: File {
            content: kernel.content,
            path: b"/kernel",
            command_line: string(info.command_line),
        },
        image: (image.start, executable.start()),
        modules: &Modules::find(&requests, &files)?,
        files: &files,
        cores: None,
        machine: firmware.machine(&requests, given.framebuffer(&mut memory, &requests)?),
    };
    firmware.show_tables(&mut memory, &facts.machine, requests.base_revision())?;
    enter(memory, features, &firmware, &executable, requests, facts)
}

/// What is left once the kernel and its files lie where they are to be.
fn enter(
    mut memory: Memory,
    features: Features,
    firmware: &Firmware,
    executable: &Executable<'_>,
    mut requests: Requests<'_>,
    facts: Facts<'_>,
) -> Result<Infallible> {
    let base_revision = requests.base_revision();
    let image = facts.image.0;
    let page_tables = paging::build(&mut memory, features, base_revision, executable, image)?;
    let stack_size = answers::stack_size(&requests);
    let stack = memory.allocate(stack_size, PAGE, Kind::BootloaderReclaimable)?;
    let stack_top = direct_map(stack.start) + stack_size.next_multiple_of(PAGE);

    let wanted = requests.member(id::MP, 0).zip(firmware.madt);
    let plan = wanted.map(|(flags, madt)| cores::Plan {
        madt,
        x2apic: flags & 1 != 0 && !firmware.opts_out_of_x2apic,
        base_revision,
        page_tables,
        stack_size,
    });
    let cores = match plan {
        Some(plan) => cores::start(&mut memory, features, &plan)?,
        None => None,
    };
    let facts = Facts {
        cores: cores.as_ref().map(|cores| Cores {
            x2apic: cores.x2apic,
            first: cores.first,
            places: &cores.places,
        }),
        machine: Machine {
            times: firmware.times(&requests),
            ..facts.machine
        },
        ..facts
    };
    let room = facts.room(&requests);
    let answers = memory.allocate(room, PAGE, Kind::BootloaderReclaimable)?;
    let map = memory.map();
    answers::write(&mut requests, &facts, map, answers.bytes, answers.start);
    say_what_is_unanswered(&requests, &facts);

    assert!(entry::is_stack_large_enough(), "its stack is too small");
    mask_pic();
    firmware.quieten(base_revision);
    let entry = requests
        .member(id::ENTRY_POINT, 0)
        .unwrap_or(executable.entry);
    // SAFETY: the page tables were built for this kernel and this core was set up
    // first of all; the stack was allocated for this; the kernel says where to enter.
    unsafe { entry::enter_kernel(stack_top, entry, page_tables, 0) }
}

fn say_what_is_unanswered(requests: &Requests<'_>, facts: &Facts<'_>) {
    let unanswered = Unanswered { requests, facts };
    if !unanswered.is_empty() {
        console::say(format_args!("not answered: {unanswered}"));
    }
}

/// Takes out of the map what is in memory that the firmware calls usable. The
/// kernel may reclaim all but the modules, its own file too: so it is in Limine.
fn claim_what_is_in_use(
    map: &mut MemoryMap,
    start_info: PhysAddr,
    info: &StartInfo,
    kernel: &Module,
    modules: &[Module],
) -> Result<()> {
    map.claim(entry::image(), Kind::BootloaderReclaimable)?;
    let start_info = Block {
        start: start_info,
        size: StartInfo::SIZE,
    };
    for block in [start_info, info.modules, info.memory_map, kernel.content] {
        map.claim(
            block.start..block.start + block.size as u64,
            Kind::BootloaderReclaimable,
        )?;
    }
    for Module {
        content: Block { start, size },
        ..
    } in modules
    {
        map.claim(*start..*start + *size as u64, Kind::ExecutableAndModules)?;
    }
    let lines = modules
        .iter()
        .chain([kernel])
        .map(|module| module.command_line);
    for start in lines.chain([info.command_line]).flatten() {
        let size = string(Some(start)).len() as u64 + 1;
        map.claim(start..start + size, Kind::BootloaderReclaimable)?;
    }
    Ok(())
}

fn file(module: &Module) -> File<'static> {
    File {
        content: module.content,
        path: b"/module",
        command_line: string(module.command_line),
    }
}

/// A module's content, once it was checked where it is.
fn module(module: &Module) -> Result<&'static [u8]> {
    let Block { start, size } = module.content;
    if !start.is_aligned(PAGE) || !is_mapped(start, size) {
        return Err(Error::ModuleMisplaced);
    }
    left(module.content)
}

fn left(block: Block) -> Result<&'static [u8]> {
    if !is_mapped(block.start, block.size) {
        return Err(Error::NotPvh);
    }
    // SAFETY: checked above; QEMU does not write once it has entered the loader, and
    // the loader claims all such blocks before it takes memory for itself.
    Ok(unsafe { left_by_others(block.start, block.size) })
}

fn string(start: Option<PhysAddr>) -> &'static [u8] {
    // SAFETY: PVH promises strings that a zero ends; for writers, see `left`.
    unsafe { string_left_by_others(start) }
}
