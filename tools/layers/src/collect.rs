//! What a module's items name and how long they are.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Block, Fields, Signature, UseTree, Visibility};

use crate::tree::{FileId, Measured, Names, Reference, is_for_tests};

/// Collects from syntax.
pub struct Collector {
    file: FileId,
    /// What is named.
    pub names: Names,
    /// The functions.
    pub functions: Vec<Measured>,
    /// The structs.
    pub structs: Vec<Measured>,
}

impl Collector {
    /// Collects from items of `file`.
    pub fn new(file: FileId) -> Self {
        Self {
            file,
            names: Names::default(),
            functions: Vec::new(),
            structs: Vec::new(),
        }
    }

    fn add_function(&mut self, signature: &Signature, block: &Block) {
        let line = signature.fn_token.span.start().line;
        self.functions.push(Measured {
            file: self.file,
            line,
            name: signature.ident.to_string(),
            size: block.brace_token.span.close().end().line + 1 - line,
        });
    }

    fn add_use(&mut self, tree: &UseTree, before: &[String], is_export: bool) {
        let mut path = before.to_vec();
        let (last, alias) = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.add_use(&tree.tree, &path, is_export);
            }
            UseTree::Group(group) => {
                let add = |tree| self.add_use(tree, before, is_export);
                return group.items.iter().for_each(add);
            }
            UseTree::Glob(glob) => {
                self.names.globs.push(path.clone());
                let line = glob.star_token.span.start().line;
                return self.names.references.push(Reference {
                    path,
                    line,
                    is_export,
                    is_glob: true,
                });
            }
            UseTree::Name(tree) => (&tree.ident, &tree.ident),
            UseTree::Rename(tree) => (&tree.ident, &tree.rename),
        };
        // `use path::{self}` names the path.
        let alias = if last == "self" && last == alias {
            path.last().cloned().unwrap_or_default()
        } else {
            alias.to_string()
        };
        if last != "self" {
            path.push(last.to_string());
        }
        self.names.aliases.insert(alias, path.clone());
        let line = last.span().start().line;
        self.names.references.push(Reference {
            path,
            line,
            is_export,
            is_glob: false,
        });
    }

    fn add_path(&mut self, path: Vec<String>, line: usize) {
        self.names.references.push(Reference {
            path,
            line,
            is_export: false,
            is_glob: false,
        });
    }

    /// Adds the paths in the arguments of a macro, whose syntax only the macro knows.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    // A name after a name, or after `>::`, begins a path.
                    if colons != 2 {
                        self.end_path(&mut path, line);
                    } else if path.is_empty() {
                        path.push("::".to_owned());
                    }
                    line = name.span().start().line;
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark)
                    if mark.as_char() == ':'
                        && (colons == 1 || mark.spacing() == Spacing::Joint) =>
                {
                    colons += 1;
                }
                other => {
                    self.end_path(&mut path, line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        let is_code = group.delimiter() != Delimiter::None;
                        debug_assert!(is_code, "a file has no invisible delimiters");
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        self.end_path(&mut path, line);
    }

    fn end_path(&mut self, path: &mut Vec<String>, line: usize) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.add_path(path, line);
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    // Neither attributes nor visibilities import anything.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_export = !matches!(item.vis, Visibility::Inherited);
        let start: &[String] = if item.leading_colon.is_some() {
            &["::".to_owned()]
        } else {
            &[]
        };
        self.add_use(&item.tree, start, is_export);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let start = path.leading_colon.as_ref().map(|_| "::".to_owned());
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        let line = path.segments[0].ident.span().start().line;
        self.add_path(start.into_iter().chain(names).collect(), line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        self.visit_path(&invoked.path);
        self.add_tokens(invoked.tokens.clone());
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add_function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            self.add_function(&item.sig, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add_function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if let Fields::Named(fields) = &item.fields {
            self.structs.push(Measured {
                file: self.file,
                line: item.ident.span().start().line,
                name: item.ident.to_string(),
                size: fields.named.len(),
            });
        }
        visit::visit_item_struct(self, item);
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item;
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
