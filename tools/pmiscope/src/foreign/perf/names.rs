//! The names of the code in perf.data: from the files that were mapped, if they are the same still.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hashbrown::HashMap;
use object::{Object as _, ObjectSegment as _};
use profiler::address::CodeAddress;

use super::maps::{Map, Maps};
use crate::foreign::table::{Code, CodeTable};
use crate::input;
use crate::profile::names::NamedFunction;
use crate::symbols::{BuildId, SymbolFile, SymbolFiles, Symbols, build_id};
use crate::units::{counted, hex};

/// The kernel's file, which somebody has named.
pub(crate) struct KernelNames {
    path: PathBuf,
    id: BuildId,
    file: NamedFile,
    /// Where it was linked to have what perf says where it is.
    elf: Vec<u8>,
}

impl KernelNames {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It is no ELF file with a build-id.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let elf = input::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = || path.display().to_string();
        Ok(Self {
            id: build_id(&elf).with_context(name)?,
            file: NamedFile::new(path, &elf).with_context(name)?,
            path: path.to_owned(),
            elf,
        })
    }
}

/// An ELF file, with its symbols.
struct NamedFile {
    symbols: Symbols,
    /// Where the file has what at which address: its offset, its length, the address.
    segments: Vec<(u64, u64, u64)>,
}

impl NamedFile {
    /// What the file itself does not say is taken from the file that was split off it, if that is here.
    fn new(path: &Path, elf: &[u8]) -> Result<Self> {
        let mut files = SymbolFiles::of(SymbolFile::at(path, elf))?;
        if let Ok(id) = build_id(elf) {
            files.find_separate(id);
        }
        let parsed = object::File::parse(elf)?;
        let segment = |it: object::Segment<'_, '_>| {
            let (offset, length) = it.file_range();
            (offset, length, it.address())
        };
        Ok(Self {
            segments: parsed.segments().map(segment).collect(),
            symbols: Symbols::of_files(&files, None),
        })
    }

    /// The address of what the file has at this offset.
    fn address(&self, offset: u64) -> Option<u64> {
        let mut segments = self.segments.iter();
        let (start, _, address) =
            segments.find(|(start, length, _)| *start <= offset && offset - start < *length)?;
        Some((offset - start).wrapping_add(*address))
    }

    /// The functions at an address, innermost first; none if it has no name.
    fn functions(&mut self, address: u64) -> Vec<NamedFunction> {
        let address = CodeAddress(address);
        self.symbols.resolve([address]);
        let frames = self.symbols.frames(address);
        let named = frames.iter().map(|frame| {
            let function = self.symbols.function(frame.function);
            NamedFunction {
                name: function.name.clone(),
                path: function.file.clone(),
                file: function.file.clone(),
                line: function.line,
                start: None,
            }
        });
        let named: Vec<_> = named.collect();
        // That is how an address is named that has no function.
        let is_address = named.len() == 1 && named[0].name == format!("{:#x}", address.0);
        if is_address { Vec::new() } else { named }
    }
}

/// Names of all code.
pub(super) struct Names {
    kernel: Option<KernelNames>,
    /// By what is added to an address of the run, once it is known.
    kernel_offset: Option<u64>,
    /// By their numbers among what is mapped.
    files: HashMap<u32, Option<NamedFile>>,
    /// Code by its file, and where it is there; of the kernel's, by its address. What is mapped may change.
    known: HashMap<(Option<u32>, u64), Code>,
    /// Files whose code has no names, and why.
    missing: BTreeMap<String, &'static str>,
    unnamed_kernel: u64,
}

impl Names {
    pub(super) fn new(kernel: Option<KernelNames>, ran: Option<BuildId>) -> Result<Self> {
        if let Some(given) = &kernel {
            match ran {
                Some(ran) if ran == given.id => {}
                Some(ran) => bail!(
                    "--kernel {} has build-id {}, and {ran} was recorded: its names would be wrong; give that one",
                    given.path.display(),
                    given.id
                ),
                None => bail!(
                    "--kernel {}: it does not say the build-id of the kernel that ran: its names may be wrong, and are not taken; record it by perf record without -B",
                    given.path.display()
                ),
            }
        }
        Ok(Self {
            kernel,
            kernel_offset: None,
            files: HashMap::new(),
            known: HashMap::new(),
            missing: BTreeMap::new(),
            unnamed_kernel: 0,
        })
    }

    pub(super) fn of_kernel(&mut self, maps: &Maps, address: u64, table: &mut CodeTable) -> Code {
        let map = maps.of_kernel(address);
        let key = (map.map(|map| map.file), address);
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let module = map
            .map(|map| file_name(&map.path))
            .filter(|name| !name.starts_with("[kernel"));
        let named = match (&module, map) {
            (None, Some(map)) => self.in_kernel(map, address),
            _ => Vec::new(),
        };
        let code = if named.is_empty() {
            self.unnamed_kernel += 1;
            table.code([unnamed(module.as_deref().unwrap_or("[kernel]"))])
        } else {
            table.code(named)
        };
        self.known.insert(key, code);
        code
    }

    /// The functions at an address of the kernel itself.
    fn in_kernel(&mut self, map: &Map, address: u64) -> Vec<NamedFunction> {
        let Some(kernel) = &mut self.kernel else {
            return Vec::new();
        };
        let offset = *self.kernel_offset.get_or_insert_with(|| {
            // The name ends with that of a symbol, which was at the offset.
            let symbol = map.path.rsplit(']').next().unwrap_or_default();
            let linked = crate::symbols::address_of(&kernel.elf, symbol);
            linked.map_or(0, |linked| linked.wrapping_sub(map.offset))
        });
        kernel.file.functions(address.wrapping_add(offset))
    }

    pub(super) fn of_program(
        &mut self,
        maps: &Maps,
        (pid, address): (i32, u64),
        table: &mut CodeTable,
    ) -> Code {
        let Some(map) = maps.of_process(pid, address) else {
            return Self::unknown(table);
        };
        let offset = (address - map.start).wrapping_add(map.offset);
        let key = (Some(map.file), offset);
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let name = file_name(&map.path);
        let missing = &mut self.missing;
        let file = self.files.entry(map.file).or_insert_with(|| {
            let opened = open(map);
            if let Err(why) = &opened {
                missing.insert(map.path.clone(), why);
            }
            opened.ok()
        });
        let functions = file.as_mut().and_then(|file| {
            let address = file.address(offset)?;
            Some(file.functions(address)).filter(|found| !found.is_empty())
        });
        let code = match functions {
            Some(functions) => table.code(functions.into_iter().map(|function| NamedFunction {
                name: format!("{} [{name}]", function.name),
                ..function
            })),
            None => table.code([unnamed(&bracketed(&name))]),
        };
        self.known.insert(key, code);
        code
    }

    /// Code of which it is not known what it is.
    pub(super) fn unknown(table: &mut CodeTable) -> Code {
        table.code([unnamed("[unknown]")])
    }

    /// What has no names, a line each.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.unnamed_kernel > 0 {
            all.push(format!(
                "{} of the kernel or its modules without a name: give the kernel's unstripped file by --kernel (modules have none)",
                counted(self.unnamed_kernel, "address")
            ));
        }
        const SHOWN: usize = 3;
        let files = self.missing.iter().take(SHOWN);
        all.extend(files.map(|(path, why)| format!("code of {path} without names: {why}")));
        if let Some(more) = self.missing.len().checked_sub(SHOWN).filter(|&it| it > 0) {
            all.push(format!(
                "{} more without names",
                counted(more as u64, "file")
            ));
        }
        all
    }
}

/// The file of a mapping, if it is what was mapped.
fn open(map: &Map) -> Result<NamedFile, &'static str> {
    let Some(recorded) = &map.build_id else {
        return Err("no build-id was recorded: it may be another file by now");
    };
    let bytes = input::read(Path::new(&map.path)).map_err(|_| "it cannot be read")?;
    let found = object::File::parse(&*bytes).ok();
    let found = found.and_then(|file| file.build_id().ok().flatten().map(hex));
    // perf's records have room for 20 bytes, with zeros behind a shorter one.
    let is_it = found.is_some_and(|found| hex(recorded).starts_with(&found));
    if !is_it {
        return Err("it has another build-id than the one that ran");
    }
    NamedFile::new(Path::new(&map.path), &bytes).map_err(|_| "it is no ELF file that can be read")
}

fn unnamed(name: &str) -> NamedFunction {
    NamedFunction {
        name: name.to_owned(),
        ..NamedFunction::default()
    }
}

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// As perf shows a file whose code has no names.
fn bracketed(name: &str) -> String {
    if name.starts_with('[') {
        name.to_owned()
    } else {
        format!("[{name}]")
    }
}
