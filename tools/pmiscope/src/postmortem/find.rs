//! Finds in a memory what leads to everything else.

use anyhow::{Result, bail};
use kernel_core::postmortem::{NoRoot, ROOT_BYTES, Root};

use super::memory::{Memory, Placed};
use super::registers::Processor;
use super::space::Space;
use crate::attach::Image;
use crate::symbols::BuildId;

/// A kernel that was found.
pub struct Dead<'a> {
    pub memory: Box<dyn Memory + 'a>,
    pub root: Root,
    /// What is to be said of what else was found; a line each.
    pub notes: Vec<String>,
    /// The registers of processors that the memory does not have.
    pub processors: Vec<Processor>,
}

impl Dead<'_> {
    pub fn build_id(&self) -> BuildId {
        BuildId(self.root.build_id())
    }

    /// The kernel's addresses.
    pub fn space(&self) -> Space<'_> {
        space(&*self.memory, &self.root)
    }
}

fn space<'a>(memory: &'a dyn Memory, root: &Root) -> Space<'a> {
    Space {
        memory,
        tables: root.image.page_tables,
    }
}

/// Looks for a kernel that can be asked, of this build-id if there are several.
///
/// # Errors
///
/// There is none, with what there is in its place; or those of reading the file.
pub fn find(image: &Image, wanted: Option<BuildId>) -> Result<Dead<'_>> {
    let mut dead = find_placed(image, wanted)?;
    if image.is_cut() {
        dead.notes.push(
            "the file ends within a page: it is cut, and so is what was read of it".to_owned(),
        );
    }
    Ok(dead)
}

fn find_placed(image: &Image, wanted: Option<BuildId>) -> Result<Dead<'_>> {
    let mut problem = None;
    let mut unmapped = None;
    for memory in Placed::all(image)? {
        match find_in(Box::new(memory), wanted) {
            Ok(dead) if is_mapped(&dead) => return Ok(dead),
            // Its memory is laid out in another way, or its page tables are lost.
            Ok(dead) => unmapped = unmapped.or(Some(dead)),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    match (unmapped, problem) {
        (Some(mut dead), _) => {
            dead.notes.push(
                "the kernel's page tables cannot be followed: its log is all that can be read"
                    .to_owned(),
            );
            Ok(dead)
        }
        (None, Some(problem)) => Err(problem.context(image.name())),
        (None, None) => bail!("{}: {NOTHING}", image.name()),
    }
}

const NOTHING: &str = "no kernel of pmiscope's has left word in this memory: it is another one's, or is cut, or the kernel had not come so far";

/// Returns true if the kernel's page tables lead to its root.
pub(super) fn is_mapped(dead: &Dead<'_>) -> bool {
    let image = &dead.root.image;
    dead.space().physical(image.block) == Ok(image.block_physical)
}

pub(super) fn find_in<'a>(
    memory: Box<dyn Memory + 'a>,
    wanted: Option<BuildId>,
) -> Result<Dead<'a>> {
    let (mut roots, mut damaged, mut other) = (Vec::new(), 0, None);
    for address in memory.pages_like_roots() {
        let mut bytes = vec![0; ROOT_BYTES];
        if !memory.read(address, &mut bytes) {
            damaged += 1;
            continue;
        }
        match Root::read(&bytes) {
            // A copy of one is none.
            Ok(root) if root.image.block_physical != address => {}
            Ok(root) => roots.push(root),
            Err(NoRoot::Other) => {}
            Err(NoRoot::Version(version)) => other = Some(version),
            Err(NoRoot::Damaged) => damaged += 1,
        }
    }
    let rank = |root: &Root| {
        let image = &root.image;
        let leads_back = space(&*memory, root).physical(image.block) == Ok(image.block_physical);
        let is_wanted = wanted.is_none_or(|wanted| root.build_id() == wanted.0);
        (is_wanted, leads_back, root.cores.count)
    };
    roots.sort_by_key(rank);
    let Some(root) = roots.pop() else {
        match (damaged, other) {
            (0, None) => bail!("{NOTHING}"),
            (0, Some(version)) => bail!(
                "a kernel with another version of what it leaves behind ({version}) was found: use the pmiscope that it was built with"
            ),
            _ => bail!("what the kernel has left is damaged: nothing of it can be believed"),
        }
    };
    let mut notes = Vec::new();
    if !roots.is_empty() {
        notes.push(format!(
            "{} more was found that an earlier boot has left: shown is that of build-id {} at {:#x}",
            roots.len(),
            BuildId(root.build_id()),
            root.image.block_physical
        ));
    }
    Ok(Dead {
        memory,
        root,
        notes,
        processors: Vec::new(),
    })
}
