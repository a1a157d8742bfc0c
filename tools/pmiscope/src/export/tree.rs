//! The stacks of a profile as a tree of places, from the outermost in: what stacks have in
//! common on their outer side is there once. A profile of millions of samples has few places
//! and few chains, so that a form that writes each sample writes a number.

use hashbrown::HashMap;
use profiler::address::{CodeAddress, UserAddress};

use crate::chain::Link;
use crate::report::{Stack, Step, Tally};
use crate::symbols::{Lines, Symbols};

/// Where a list of numbers has none.
const NONE: u32 = u32::MAX;

/// Numbers of places, nodes and functions are of 32 bits, as the profile's are.
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2³²")
}

/// What a step of a stack is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// Code, at this address of [`Symbols::place`]; of a caller, within its call.
    Code(u64),
    /// What is further out was interrupted, by this vector.
    Interrupt(u8),
    /// What is further out is the user's program: it was interrupted by this vector, or made a system
    /// call.
    Border(Option<u8>),
    /// What is further out is not known: the walk ended so.
    Cut(u8),
}

impl Kind {
    /// Of code of a user's program: which, and where in its file.
    pub(crate) fn user(self) -> Option<UserAddress> {
        match self {
            Self::Code(place) => UserAddress::of_program(CodeAddress(place)),
            Self::Interrupt(_) | Self::Border(_) | Self::Cut(_) => None,
        }
    }
}

/// A step of a stack: an address with all functions that were inlined there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub kind: Kind,
    /// Innermost first; one or more.
    pub frames: Box<[Frame]>,
}

/// A function at a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Its place in [`Tree::functions`].
    pub function: u32,
    /// The line that was executing, or that has the call: its file by its place in
    /// [`Tree::files`].
    pub line: Option<(u32, u32)>,
}

/// A function, by the name that is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Function {
    pub name: String,
    /// Where it is declared.
    pub file: Option<u32>,
    pub line: Option<u32>,
}

/// A place on a stack, and what is further out.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    place: u32,
}

/// The stacks.
#[derive(Default)]
pub(crate) struct Tree {
    pub places: Vec<Place>,
    pub functions: Vec<Function>,
    pub files: Vec<String>,
    nodes: Vec<Node>,
    /// The innermost node of each stack, by its number in the profile.
    leaves: Vec<u32>,
    /// Where stacks were executing, by the same number, that have their exact address in another
    /// function than the one that was interrupted.
    exact_elsewhere: HashMap<u32, u32>,
}

impl Tree {
    /// These of the stacks of a tally, whose addresses have been resolved.
    pub(crate) fn new(
        tally: &Tally,
        symbols: &Symbols,
        lines: &Lines,
        is_in: impl Fn(&Stack<'_>) -> bool,
    ) -> Self {
        let mut builder = Builder {
            symbols,
            lines,
            tree: Self::default(),
            places: HashMap::new(),
            functions: HashMap::new(),
            files: HashMap::new(),
            children: HashMap::new(),
        };
        let mut chains: HashMap<(usize, u8), u32> = HashMap::new();
        let stacks = tally.numbered_stacks();
        for (stack_number, stack) in stacks.filter(|(_, stack)| is_in(stack)) {
            let key = (stack.outer.number, stack.end as u8);
            let chain = *chains.entry(key).or_insert_with(|| builder.chain(&stack));
            let leaf = builder.innermost(chain, &stack);
            let leaves = &mut builder.tree.leaves;
            leaves.resize(leaves.len().max(stack_number as usize + 1), NONE);
            leaves[stack_number as usize] = leaf;
            if let Some(exact) = stack.exact.filter(|_| stack.is_exact_elsewhere(symbols)) {
                let exact = builder.code(exact);
                builder.tree.exact_elsewhere.insert(stack_number, exact);
            }
        }
        builder.tree
    }

    /// The innermost node of the stack with this number in the profile, if the tree has it.
    pub(crate) fn leaf(&self, stack: u32) -> Option<u32> {
        let leaf = self.leaves.get(stack as usize).copied();
        leaf.filter(|&leaf| leaf != NONE)
    }

    /// The place that a stack's samples are of, if it is not that of its innermost node.
    pub(crate) fn exact_elsewhere(&self, stack: u32) -> Option<u32> {
        self.exact_elsewhere.get(&stack).copied()
    }

    /// The number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The number of a node's place.
    pub(crate) fn place_of(&self, node: u32) -> u32 {
        self.nodes[node as usize].place
    }

    /// The node further out; it has a smaller number.
    pub(crate) fn parent(&self, node: u32) -> Option<u32> {
        let parent = self.nodes[node as usize].parent;
        (parent != NONE).then_some(parent)
    }

    /// The places of a stack, innermost first, by its innermost node.
    pub(crate) fn places_of(&self, leaf: u32) -> impl Iterator<Item = &Place> {
        let nodes = std::iter::successors(Some(leaf), |&node| self.parent(node));
        nodes.map(|node| &self.places[self.place_of(node) as usize])
    }

    /// Its functions, innermost first, each with where it was.
    pub(crate) fn frames_of(&self, leaf: u32) -> impl Iterator<Item = Frame> {
        self.places_of(leaf)
            .flat_map(|place| place.frames.iter().copied())
    }

    /// A function's name, and where it is declared.
    pub(crate) fn declared(&self, function: &Function) -> (Option<&str>, Option<u32>) {
        let file = function.file.map(|file| &*self.files[file as usize]);
        (file, function.line)
    }
}

/// Makes the tree.
struct Builder<'a> {
    symbols: &'a Symbols,
    lines: &'a Lines,
    tree: Tree,
    /// By what they are.
    places: HashMap<Kind, u32>,
    functions: HashMap<Named, u32>,
    files: HashMap<String, u32>,
    children: HashMap<(u32, u32), u32>,
}

/// What names a function: its number among the symbols, or its name.
#[derive(PartialEq, Eq, Hash)]
enum Named {
    Symbol(usize),
    Text(String),
}

impl Builder<'_> {
    /// The node of a stack's outer chain.
    fn chain(&mut self, stack: &Stack<'_>) -> u32 {
        let mut node = NONE;
        if let Some(name) = stack.cut_label() {
            let cut = self.named_place(Kind::Cut(stack.end as u8), name);
            node = self.child(node, cut);
        }
        for &link in stack.outer.links.iter().rev() {
            let link = stack.outer.different[link as usize];
            let code = self.code(link.lookup());
            node = self.child(node, code);
            let crossed = match link {
                Link::Return(_) | Link::UserReturn(_) => None,
                Link::Interrupted { vector, .. } => {
                    Some((Kind::Interrupt(vector), Step::Interrupt(vector)))
                }
                Link::Border { vector, .. } => Some((Kind::Border(vector), Step::Border(vector))),
            };
            if let Some((kind, step)) = crossed {
                let name = step.label(self.symbols).into_owned();
                let crossed = self.named_place(kind, name);
                node = self.child(node, crossed);
            }
        }
        node
    }

    /// The innermost node of a stack, as [`Stack::innermost`] has it.
    fn innermost(&mut self, mut node: u32, stack: &Stack<'_>) -> u32 {
        if let Some(added) = stack.added {
            let added = self.code(Link::Return(added).lookup());
            node = self.child(node, added);
        }
        let is_same = !stack.is_exact_elsewhere(self.symbols);
        let own = stack.exact.filter(|_| is_same).unwrap_or(stack.pc);
        let own = self.code(own);
        self.child(node, own)
    }

    fn child(&mut self, parent: u32, place: u32) -> u32 {
        let nodes = &mut self.tree.nodes;
        *self.children.entry((parent, place)).or_insert_with(|| {
            nodes.push(Node { parent, place });
            number(nodes.len() - 1)
        })
    }

    fn named_place(&mut self, kind: Kind, name: String) -> u32 {
        if let Some(&known) = self.places.get(&kind) {
            return known;
        }
        let function = self.function(Named::Text(name.clone()), || (name, None, None));
        let frame = Frame {
            function,
            line: None,
        };
        self.add(kind, Box::new([frame]))
    }

    /// The place of code that ran at an address.
    fn code(&mut self, address: CodeAddress) -> u32 {
        let kind = Kind::Code(self.symbols.place(address));
        if let Some(&known) = self.places.get(&kind) {
            return known;
        }
        let symbols = self.symbols;
        let resolved = symbols.frames(address);
        let lines = self.lines.of_code(address, symbols);
        let frames = resolved.iter().zip(lines).map(|(frame, line)| {
            let id = frame.function;
            let function = self.function(Named::Symbol(id.index()), || {
                let (file, line) = symbols.declared_in(id, self.lines);
                (symbols.label(id).to_owned(), file, line)
            });
            let line = line.map(|line| (self.file(line.file), line.line));
            Frame { function, line }
        });
        let frames = frames.collect();
        self.add(kind, frames)
    }

    fn add(&mut self, kind: Kind, frames: Box<[Frame]>) -> u32 {
        self.tree.places.push(Place { kind, frames });
        let place = number(self.tree.places.len() - 1);
        self.places.insert(kind, place);
        place
    }

    fn function(
        &mut self,
        key: Named,
        make: impl FnOnce() -> (String, Option<String>, Option<u32>),
    ) -> u32 {
        if let Some(&known) = self.functions.get(&key) {
            return known;
        }
        let (name, file, line) = make();
        let file = file.map(|file| self.file(file));
        self.tree.functions.push(Function { name, file, line });
        let function = number(self.tree.functions.len() - 1);
        self.functions.insert(key, function);
        function
    }

    fn file(&mut self, name: String) -> u32 {
        let files = &mut self.tree.files;
        *self.files.entry(name).or_insert_with_key(|name| {
            files.push(name.clone());
            number(files.len() - 1)
        })
    }
}
