//! `import --memory`: makes a profile of what a run before a reset has left in memory.

use anyhow::{Result, bail};
use profiler::format::region::RunState;

use crate::attach::{CUT, Copies, Image};
use crate::cli::{ImportArgs, MemoryPlace};
use crate::commands::attach::{end_of_copy, profile_copy};
use crate::commands::run::plan::Recording;
use crate::exit::Exit;
use crate::profile::Outcome;
use crate::qemu::End;

pub(super) fn import(place: &MemoryPlace, arguments: &ImportArgs) -> Result<Exit> {
    let image = Image::open_kept(&place.file)?;
    let mut recording = Recording::of_other_guest(
        arguments.kernel.as_deref(),
        arguments.output.as_deref(),
        &arguments.debug_file,
        Some(("the memory", place.file.clone())).filter(|_| !image.is_device()),
    )?;
    recording.embeds_names = arguments.embed_symbols;
    let copies = match place.address {
        Some(address) => Copies::at(&image, address)?,
        None if image.is_device() => bail!(
            "{0} is all of this machine: say by --memory {0}@ADDRESS where the region begins, as the kernel's log does at its next start",
            image.name()
        ),
        None => Copies::new(&image)?,
    };
    profile_copy(
        (&image, &copies),
        &recording,
        None,
        end_of,
        arguments.format,
    )
}

/// How a run ended of which the machine has been started again.
fn end_of(state: RunState) -> End {
    match state {
        RunState::Starting | RunState::Sampling | RunState::Paused => End {
            outcome: Outcome::Reset,
            message: CUT.to_owned(),
        },
        ended => end_of_copy(ended),
    }
}
