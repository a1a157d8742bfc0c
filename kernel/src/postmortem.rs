//! Tells whoever finds this kernel dead where things are: the root of [`kernel_core::postmortem`].

use kernel_core::postmortem::{Block, Image, NAMES, Root, Variables};
use profiler::linked;

use crate::boot::BootInfo;
use crate::cpu::stop;
use crate::memory::{image, paging, stacks};
use crate::{cpu, log, task, trap, workload};

/// Tells where the kernel's image is, from which the log is found. Once there are page tables.
pub fn tell_of_image(boot: &BootInfo) {
    log::block().publish(&of_image(boot));
}

/// Tells where all the rest is. Once all cores have blocks.
pub fn tell_of_all(boot: &BootInfo) {
    let (tasks, current_task) = task::places();
    let [left_registers, fails, state] = stop::places();
    let mut root = Root {
        cores: cpu::places(),
        variables: Variables {
            left_registers,
            fails,
            state,
            current_task,
        },
        tasks,
        stacks: stacks::places(),
        code: trap::places(),
        ..of_image(boot)
    };
    for (place, number) in (0..NAMES).zip(0..) {
        root.set_name(place, workload::task_name(number));
    }
    log::block().publish(&root);
}

fn of_image(boot: &BootInfo) -> Root {
    let block: *const Block = log::block();
    let block = block.addr() as u64;
    let text = linked::text();
    let in_image = block - image::text().start.as_u64();
    let mut root = Root {
        image: Image {
            block_physical: boot.image_physical.as_u64() + in_image,
            block,
            text_start: text.start.0,
            text_end: text.end.0,
            page_tables: paging::root().start_address().as_u64(),
            ..Image::default()
        },
        ..Root::default()
    };
    root.set_build_id(linked::build_id());
    root
}
