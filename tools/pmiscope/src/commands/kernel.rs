//! What the loader will do with the kernel, known before the guest starts: by the loader's
//! own code.

use anyhow::{Context as _, Result, bail};
use loader::answers::id;
use loader::executable::Executable;
use loader::framebuffer;
use loader::modules::MAX_MODULES;
use loader::requests::{Id, Image, Requests};

use crate::cli::{LoadArgs, MachineArgs};
use crate::qemu::{Load, Module};

/// Whether a kernel asks for a framebuffer.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Screen {
    /// No.
    #[default]
    Unwanted,
    /// It does, and does without.
    Optional,
    /// It does.
    Wanted,
}

/// What is known of a kernel. Of one that the loader cannot load, nothing: it says why, or
/// it is another loader.
#[derive(Default)]
pub(super) struct Kernel {
    /// How far it is moved from where it was linked.
    pub(super) slide: u64,
    screen: Screen,
    wants_modules: bool,
}

impl Kernel {
    /// Looks at the kernel's file.
    ///
    /// # Errors
    ///
    /// `--kaslr` and `--module` that this kernel cannot have.
    pub(super) fn new(file: &[u8], wanted: &LoadArgs) -> Result<Self> {
        let kernel = match Executable::parse(file, wanted.kaslr) {
            Ok(executable) => Self::of(&executable),
            Err(error) if wanted.kaslr.is_some() => bail!("--kaslr: {error}"),
            Err(_) => None,
        };
        // What cannot be loaded may want modules or not.
        if let (Some(module), Some(false)) = (
            wanted.module.first(),
            kernel.as_ref().map(|kernel| kernel.wants_modules),
        ) {
            bail!(
                "--module {}: the kernel does not ask the boot loader for modules: leave the option out, or give the kernel a module request",
                module.file.display()
            );
        }
        Ok(kernel.unwrap_or_default())
    }

    fn of(executable: &Executable<'_>) -> Option<Self> {
        let from_file = executable.from_file();
        let mut bytes = vec![0; from_file];
        executable.load(&mut bytes).ok()?;
        let requests = Requests::scan(Image {
            bytes: &mut bytes,
            start: executable.start(),
            from_file,
            list: executable.request_list,
        });
        let requests = requests.ok()?;
        let wants = |id: Id| requests.revision(id).is_some();
        Some(Self {
            slide: executable.slide,
            screen: match (wants(id::FRAMEBUFFER), wants(id::FRAMEBUFFER_IS_OPTIONAL)) {
                (false, _) => Screen::Unwanted,
                (true, true) => Screen::Optional,
                (true, false) => Screen::Wanted,
            },
            wants_modules: wants(id::MODULES),
        })
    }

    /// Whether the machine is to have a framebuffer: if the kernel asks for one, and does not do
    /// without or the screen is to be shown.
    pub(super) fn gets_framebuffer(&self, machine: &MachineArgs) -> bool {
        match self.screen {
            Screen::Unwanted => false,
            Screen::Optional => machine.display.is_some(),
            Screen::Wanted => true,
        }
    }

    /// Memory that the screen and the modules need.
    pub(super) fn memory(&self, machine: &MachineArgs, load: Option<&Load>) -> Result<u64> {
        // In whole large pages, and what the firmware takes for a screen of its own.
        let screen = if self.gets_framebuffer(machine) {
            4 * framebuffer::SIZE
        } else {
            0
        };
        let mut bytes = screen;
        for module in load.into_iter().flat_map(|load| &load.modules) {
            let size = std::fs::metadata(&module.file).map(|file| file.len());
            bytes += size.with_context(|| format!("--module {}", module.file.display()))?;
        }
        // QEMU takes whole pages.
        Ok(bytes.next_multiple_of(1 << 20))
    }
}

/// What the loader is given.
///
/// # Errors
///
/// A module cannot be read, or there are too many.
pub(super) fn load(wanted: &LoadArgs) -> Result<Load> {
    if wanted.module.len() > MAX_MODULES {
        bail!("--module: at most {MAX_MODULES} of them: put some into one file");
    }
    for (number, module) in wanted.module.iter().enumerate() {
        super::run::plan::readable(&module.file).context("--module")?;
        let has_name = |other: &Module| other.path() == module.path();
        if wanted.module[..number].iter().any(has_name) {
            bail!(
                "--module: two files are called {}, by which the kernel knows them: rename one",
                module.path()
            );
        }
    }
    Ok(Load {
        seed: wanted.kaslr,
        modules: wanted.module.clone(),
    })
}
