//! What was mapped where.

use hashbrown::HashMap;
use linux_perf_data::linux_perf_event_reader::{Mmap2FileId, Mmap2Record, MmapRecord};
use linux_perf_data::{DsoInfo, DsoKey};

use crate::symbols::BuildId;

/// A mapping of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Map {
    pub(super) start: u64,
    end: u64,
    /// Where the file has what is at the start.
    pub(super) offset: u64,
    pub(super) path: String,
    pub(super) build_id: Option<Vec<u8>>,
    /// The number of the file: that of its path and its build-id.
    pub(super) file: u32,
}

/// All mappings: those of the kernel, and those of each process.
pub(super) struct Maps {
    kernel: Vec<Map>,
    processes: HashMap<i32, Vec<Map>>,
    /// What the end of the file says of files, by their paths.
    build_ids: HashMap<String, Vec<u8>>,
    /// The numbers of files.
    files: HashMap<(String, Option<Vec<u8>>), u32>,
    of_kernel: Option<BuildId>,
}

impl Maps {
    pub(super) fn new(build_ids: std::collections::HashMap<DsoKey, DsoInfo>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kernel = build_ids.get(&DsoKey::Kernel).map(|it| it.build_id.clone());
        let kernel = kernel.and_then(|id| <[u8; 20]>::try_from(id).ok());
        Self {
            kernel: Vec::new(),
            processes: HashMap::new(),
            build_ids: build_ids
                .into_values()
                .map(|it| (text(&it.path), it.build_id))
                .collect(),
            files: HashMap::new(),
            of_kernel: kernel.map(BuildId),
        }
    }

    pub(super) fn kernel_build_id(&self) -> Option<BuildId> {
        self.of_kernel
    }

    pub(super) fn add(&mut self, record: &MmapRecord<'_>) {
        let path = String::from_utf8_lossy(&record.path.as_slice()).into_owned();
        self.insert(
            record.pid,
            Map {
                start: record.address,
                end: record.address.saturating_add(record.length),
                offset: record.page_offset,
                build_id: None,
                path,
                file: 0,
            },
        );
    }

    pub(super) fn add2(&mut self, record: &Mmap2Record<'_>) {
        let path = String::from_utf8_lossy(&record.path.as_slice()).into_owned();
        let build_id = match &record.file_id {
            Mmap2FileId::BuildId(id) => Some(id.clone()),
            Mmap2FileId::InodeAndVersion(_) => None,
        };
        self.insert(
            record.pid,
            Map {
                start: record.address,
                end: record.address.saturating_add(record.length),
                offset: record.page_offset,
                build_id,
                path,
                file: 0,
            },
        );
    }

    /// What is mapped later lies over what was there.
    fn insert(&mut self, pid: i32, mut map: Map) {
        if map.build_id.is_none() {
            map.build_id = self.build_ids.get(&map.path).cloned();
        }
        let next = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let file = (map.path.clone(), map.build_id.clone());
        map.file = *self.files.entry(file).or_insert(next);
        if pid == -1 {
            self.kernel.push(map);
        } else {
            self.processes.entry(pid).or_default().push(map);
        }
    }

    /// A new process has all that its parent has, and nothing of one that had its pid before.
    pub(super) fn fork(&mut self, parent: i32, child: i32) {
        let maps = self.processes.get(&parent).cloned();
        self.processes.insert(child, maps.unwrap_or_default());
    }

    /// A process executes another file.
    pub(super) fn forget(&mut self, pid: i32) {
        self.processes.remove(&pid);
    }

    /// Whether a process has a program: the kernel's threads have none.
    pub(super) fn has_process(&self, pid: i32) -> bool {
        self.processes
            .get(&pid)
            .is_some_and(|maps| !maps.is_empty())
    }

    pub(super) fn of_kernel(&self, address: u64) -> Option<&Map> {
        find(&self.kernel, address)
    }

    pub(super) fn of_process(&self, pid: i32, address: u64) -> Option<&Map> {
        find(self.processes.get(&pid)?, address)
    }
}

fn find(maps: &[Map], address: u64) -> Option<&Map> {
    let mut newest_first = maps.iter().rev();
    newest_first.find(|map| map.start <= address && address < map.end)
}
