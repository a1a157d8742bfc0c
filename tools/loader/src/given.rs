//! What was given beside the kernel, through QEMU's configuration device: the seed for
//! KASLR, modules, a screen.

use arrayvec::ArrayVec;
use loader::answers::{File, id};
use loader::framebuffer;
use loader::fw_cfg::{self, Item, Items, ModuleItems};
use loader::memory_map::{Kind, PAGE};
use loader::pvh::Block;
use loader::requests::Requests;
use loader::{Error, Result};
use x86_64::PhysAddr;
use x86_64::structures::paging::{PageSize, Size2MiB};

use crate::machine::console;
use crate::machine::fw_cfg::FwCfg;
use crate::machine::memory::Memory;

/// What was given.
pub struct Given {
    device: Option<FwCfg>,
    items: Items,
}

impl Given {
    /// Looks what there is.
    pub fn find() -> Self {
        let mut device = FwCfg::find();
        let items = device.as_mut().map(FwCfg::items).unwrap_or_default();
        Self { device, items }
    }

    /// The seed for KASLR, if the kernel is to be moved.
    pub fn seed(&mut self) -> Result<Option<u64>> {
        let Some(item) = self.items.seed else {
            return Ok(None);
        };
        let mut digits = [0; 20];
        let digits = digits.get_mut(..item.size).ok_or(Error::Seed)?;
        self.read(item, digits)?;
        fw_cfg::seed(digits).map(Some).ok_or(Error::Seed)
    }

    /// Loads the modules.
    pub fn add_modules<const N: usize>(
        &mut self,
        memory: &mut Memory,
        files: &mut ArrayVec<File<'static>, N>,
    ) -> Result<()> {
        for ModuleItems {
            content,
            path,
            command_line,
        } in self.items.modules.clone()
        {
            // A number may have been left out.
            let Some(content) = content else { continue };
            let (start, _) = self.load(memory, content, Kind::ExecutableAndModules)?;
            let mut text = |item: Option<Item>| match item {
                Some(item) => {
                    let (_, text) = self.load(memory, item, Kind::BootloaderReclaimable)?;
                    Ok(text)
                }
                None => Ok(&b""[..]),
            };
            let file = File {
                content: Block {
                    start,
                    size: content.size,
                },
                path: text(path)?,
                command_line: text(command_line)?,
            };
            files.try_push(file).map_err(|_| Error::TooManyModules)?;
        }
        Ok(())
    }

    /// Makes a screen, if the kernel asks for one and the machine has the device.
    pub fn framebuffer(
        &mut self,
        memory: &mut Memory,
        requests: &Requests<'_>,
    ) -> Result<Option<PhysAddr>> {
        let is_asked = requests.revision(id::FRAMEBUFFER).is_some();
        let (Some(item), Some(device), true) = (self.items.display, &mut self.device, is_asked)
        else {
            return Ok(None);
        };
        let block = memory.allocate(framebuffer::SIZE, Size2MiB::SIZE, Kind::Framebuffer)?;
        block.bytes.fill(0);
        let mut configuration = framebuffer::configuration(block.start);
        if !device.write(item, &mut configuration) {
            return Err(Error::FwCfg);
        }
        console::say(format_args!(
            "framebuffer: {} x {}, {} bits a pixel, at {:#x}",
            framebuffer::WIDTH,
            framebuffer::HEIGHT,
            framebuffer::PIXEL_BITS,
            block.start.as_u64()
        ));
        Ok(Some(block.start))
    }

    /// Loads a file into pages of its own.
    fn load(
        &mut self,
        memory: &mut Memory,
        item: Item,
        kind: Kind,
    ) -> Result<(PhysAddr, &'static [u8])> {
        // An empty one has an address, too.
        let block = memory.allocate(item.size.max(1) as u64, PAGE, kind)?;
        let bytes = &mut block.bytes[..item.size];
        self.read(item, bytes)?;
        Ok((block.start, bytes))
    }

    fn read(&mut self, item: Item, into: &mut [u8]) -> Result<()> {
        let device = self.device.as_mut().ok_or(Error::FwCfg)?;
        device.read(item, into).then_some(()).ok_or(Error::FwCfg)
    }
}
