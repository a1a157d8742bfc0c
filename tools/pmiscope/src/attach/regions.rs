//! The regions in a guest's memory, and which of them is the run.
//!
//! There may be several: an earlier boot of the same memory has left one, of this kernel or
//! of another.

use std::collections::HashMap;

use anyhow::{Result, bail};
use profiler::format::Description;
use profiler::format::region::{PAGE, Region, RegionError};

use super::Image;
use crate::collect::Mapping;
use crate::symbols::BuildId;

/// A region.
pub struct Found<'memory> {
    pub address: u64,
    pub region: Region<'memory>,
    pub description: Box<Description>,
}

/// What a region is good for; the better, the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Standing {
    /// It has ended, and all of it was read before.
    Read,
    /// It has ended, and there is something to read.
    Ended,
    /// It has not ended.
    Running,
}

impl Found<'_> {
    fn cores(&self) -> std::ops::Range<u32> {
        0..self.region.cores()
    }

    /// Words in the rings that nobody has read, and samples that were counted in tables, where they
    /// stay when they are read.
    pub fn unread(&self) -> u64 {
        let unread = self.cores().map(|core| {
            let words = self.region.control(core).unread();
            let counted = if self.region.has_tables() {
                self.region.stored(core)
            } else {
                0
            };
            words.saturating_add(counted)
        });
        unread.fold(0, u64::saturating_add)
    }

    /// Words in the rings that were read before.
    pub fn read(&self) -> u64 {
        let words = self.cores().map(|core| self.region.reader(core).position());
        words.fold(0, u64::saturating_add)
    }

    /// Interrupts that its cores have taken.
    fn taken(&self) -> u64 {
        let taken = self.cores().map(|core| {
            let counters = self.region.counters(core);
            let taken = counters.taken.load(std::sync::atomic::Ordering::Relaxed);
            taken.wrapping_add(self.region.control(core).fast())
        });
        taken.fold(0, u64::saturating_add)
    }

    /// Returns true if the kernel does nothing more in it.
    pub fn has_ended(&self) -> bool {
        self.region.state().has_ended()
    }

    fn standing(&self) -> Standing {
        match (self.has_ended(), self.unread()) {
            (false, _) => Standing::Running,
            (true, 0) => Standing::Read,
            (true, _) => Standing::Ended,
        }
    }

    /// What it is, for messages.
    pub fn name(&self) -> String {
        format!(
            "the region at {:#x} (build-id {}, {})",
            self.address,
            BuildId(self.description.build_id),
            self.region.state().name()
        )
    }
}

/// What is found in a guest's memory.
#[derive(Default)]
pub struct Regions<'memory> {
    found: Vec<Found<'memory>>,
    /// Why a kernel refuses its run, if one has made a region to say that.
    pub refusal: Option<String>,
    /// Why what looks like a region cannot be read.
    pub unreadable: Option<String>,
}

/// The region that is taken for the run.
pub enum Chosen<'memory> {
    /// No region.
    Nothing,
    /// It is of another kernel, as are all that there are.
    Other(Found<'memory>),
    /// Of this kernel, ended and read before, as are all of this kernel.
    Read(Found<'memory>),
    /// The run, and what other regions there are.
    Run(Found<'memory>, Vec<String>),
}

impl<'memory> Regions<'memory> {
    /// Those in a live guest's memory.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub fn in_place(image: &Image, memory: &'memory Mapping) -> Result<Self> {
        let mut regions = Self::default();
        for address in image.candidates()? {
            if let Ok(offset) = usize::try_from(address) {
                regions.add(address, memory, offset);
            }
        }
        Ok(regions)
    }

    /// Those that were copied.
    #[must_use]
    pub fn copied(copies: &'memory Copies) -> Self {
        let mut regions = Self {
            unreadable: copies.unreadable.clone(),
            ..Self::default()
        };
        for (address, memory) in &copies.memory {
            regions.add(*address, memory, 0);
        }
        regions
    }

    fn add(&mut self, address: u64, memory: &'memory Mapping, offset: usize) {
        match memory.open(offset) {
            Ok((region, description)) => self.found.push(Found {
                address,
                region,
                description: Box::new(description),
            }),
            // It was the kernel's image, or is no longer there.
            Err(RegionError::Magic) => {}
            Err(RegionError::Refused) => self.refusal = memory.refusal(offset),
            Err(other) => self.unreadable = Some(other.to_string()),
        }
    }

    /// The interrupts that were taken in each region, by its address.
    #[must_use]
    pub fn taken(&self) -> HashMap<u64, u64> {
        let taken = self
            .found
            .iter()
            .map(|found| (found.address, found.taken()));
        taken.collect()
    }

    /// The region of `kernel` in which most samples were taken.
    #[must_use]
    pub fn latest_of(&self, kernel: BuildId) -> Option<Region<'memory>> {
        let own = self
            .found
            .iter()
            .filter(|found| found.description.build_id == kernel.0);
        let best = own.max_by_key(|found| (found.standing(), found.taken()))?;
        Some(best.region)
    }

    /// Returns true if which one runs is told by a second look only.
    #[must_use]
    pub fn are_ambiguous(&self, kernel: BuildId) -> bool {
        let runs = |found: &&Found<'_>| {
            found.description.build_id == kernel.0 && found.standing() == Standing::Running
        };
        self.found.iter().filter(runs).count() > 1
    }

    /// The region of `kernel` that runs, or else that has ended with something to read; of
    /// several that seem to run, the one that has moved since `before`.
    #[must_use]
    pub fn choose(self, kernel: BuildId, before: &HashMap<u64, u64>) -> Chosen<'memory> {
        let rank = |found: &Found<'_>| {
            let taken = found.taken();
            let has_moved = before.get(&found.address).is_some_and(|&then| taken > then);
            let is_right = found.description.build_id == kernel.0;
            (is_right, found.standing(), has_moved, taken)
        };
        let mut found = self.found;
        found.sort_by_key(rank);
        let Some(best) = found.pop() else {
            return Chosen::Nothing;
        };
        match rank(&best) {
            (false, ..) => Chosen::Other(best),
            (true, Standing::Read, ..) => Chosen::Read(best),
            (true, ..) => Chosen::Run(best, found.iter().map(Found::name).collect()),
        }
    }
}

/// Copies of all regions in a file that nobody is to write to.
pub struct Copies {
    memory: Vec<(u64, Mapping)>,
    /// Why one could not be copied.
    unreadable: Option<String>,
}

impl Copies {
    /// Copies them.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub fn new(image: &Image) -> Result<Self> {
        let mut copies = Self::none();
        for address in image.candidates()? {
            let header = image.copy(address, PAGE)?;
            copies.add(image, address, &header);
        }
        Ok(copies)
    }

    /// Copies the one that begins at an address.
    ///
    /// # Errors
    ///
    /// Those of reading the file, and that there is none.
    pub fn at(image: &Image, address: u64) -> Result<Self> {
        let header = image.copy(address, PAGE)?;
        if matches!(header.open(0), Err(RegionError::Magic)) {
            bail!(
                "{}: no region begins at {address:#x}: the kernel's log at its next start says where one does",
                image.name()
            );
        }
        let mut copies = Self::none();
        copies.add(image, address, &header);
        Ok(copies)
    }

    const fn none() -> Self {
        Self {
            memory: Vec::new(),
            unreadable: None,
        }
    }

    fn add(&mut self, image: &Image, address: u64, header: &Mapping) {
        let bytes = match header.open(0) {
            Err(RegionError::Truncated(bytes)) => bytes,
            // What there is of it says why.
            _ => PAGE,
        };
        match image.copy(address, bytes) {
            Ok(memory) => self.memory.push((address, memory)),
            Err(problem) => self.unreadable = Some(format!("{problem:#}")),
        }
    }
}
