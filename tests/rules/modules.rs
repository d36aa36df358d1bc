//! The arrows between the modules of a crate: no two files import each other, directly or around a circle, and the rooms of
//! the crate `node` import only from the rooms below them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// A module's path within its crate; empty for the crate's root.
type Module = Vec<String>;

/// A path as it stands in the code, split at its colons.
type Name = Vec<String>;

/// The names that one file uses.
#[derive(Default)]
struct Names {
    /// Imports, each with true if the file exports the name again.
    imports: Vec<(bool, Name)>,
    /// Paths in the file's own code.
    paths: Vec<Name>,
}

impl Names {
    fn of(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).expect("text");
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut names = Self::default();
        names.visit_file(&parsed);
        names
    }

    fn import(&mut self, public: bool, tree: &syn::UseTree, before: &Name) {
        let with = |ident: &syn::Ident| [before.as_slice(), &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.import(public, &path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => self.imports.push((public, before.clone())),
            syn::UseTree::Name(name) => self.imports.push((public, with(&name.ident))),
            syn::UseTree::Rename(name) => self.imports.push((public, with(&name.ident))),
            syn::UseTree::Glob(_) => self.imports.push((public, before.clone())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(public, tree, before)),
        }
    }
}

/// Returns true for items that only tests compile.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute.path().is_ident("cfg").then_some(&attribute.meta);
        condition.is_some_and(|meta| quote::ToTokens::to_token_stream(meta).to_string().contains("test"))
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if is_for_tests(attributes) {
            return;
        }
        match item {
            syn::Item::Use(item) => {
                let public = !matches!(item.vis, syn::Visibility::Inherited);
                self.import(public, &item.tree, &vec![]);
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let name: Name = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.paths.push(name);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, code: &'ast syn::Macro) {
        // The arguments of a macro are tokens: their paths are found in the text.
        let text = code.tokens.to_string().replace(' ', "");
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        let paths = words.filter(|word| word.contains("::"));
        self.paths
            .extend(paths.map(|path| path.split("::").map(str::to_owned).collect::<Name>()));
        visit::visit_macro(self, code);
    }
}

/// The modules of one crate, each with the names that it uses. Modules for tests are left out.
struct Crate {
    modules: BTreeMap<Module, Names>,
}

impl Crate {
    fn read(source: &Path) -> Self {
        let mut files: Vec<PathBuf> = vec![];
        super::files(source, ".rs", &mut files);
        assert!(
            files.len() > 1,
            "found only {} files in {}",
            files.len(),
            source.display()
        );
        let mut modules = BTreeMap::new();
        for file in files {
            let module = file
                .strip_prefix(source)
                .expect("a file below the source")
                .with_extension("");
            let mut module: Module = module.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if module == ["lib"] || module == ["main"] {
                module.clear();
            }
            if !module.iter().any(|part| part == "tests" || part == "testing") {
                modules.insert(module, Names::of(&file));
            }
        }
        Self { modules }
    }

    fn is_child(&self, of: &Module, name: &str) -> bool {
        self.modules.contains_key(&[of.as_slice(), &[name.to_owned()]].concat())
    }

    /// Returns the module in which a name is defined that the module `from` uses; `None` for a name of another crate. A name
    /// that a module only exports again counts as its first place.
    fn defined_in(&self, from: &Module, name: &Name, depth: usize) -> Option<Module> {
        let mut rest = name.as_slice();
        let mut module = from.clone();
        match rest.first()?.as_str() {
            "crate" => {
                module.clear();
                rest = &rest[1..];
            }
            "super" | "self" => {
                while let Some(step) = rest.first().filter(|step| *step == "super" || *step == "self") {
                    if step == "super" {
                        module.pop();
                    }
                    rest = &rest[1..];
                }
            }
            child if self.is_child(from, child) => {}
            _ => return None,
        }
        while let Some(step) = rest.first().filter(|step| self.is_child(&module, step)) {
            module.push(step.clone());
            rest = &rest[1..];
        }
        let again = rest.first().and_then(|item| {
            let imports = &self.modules.get(&module)?.imports;
            imports.iter().find(|(_, import)| import.last() == Some(item))
        });
        match again {
            Some((_, import)) if depth < 6 && (module != *from || depth > 0) => {
                self.defined_in(&module, import, depth + 1)
            }
            _ => Some(module),
        }
    }

    /// Returns the modules that a module imports from.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let names = &self.modules[module];
        let own: BTreeSet<_> = names.paths.iter().filter_map(|path| path.first()).collect();
        // A name that is exported again, and not used here, is a sign at the door.
        let used = |(public, import): &&(bool, Name)| !public || import.last().is_some_and(|last| own.contains(last));
        let imported = names.imports.iter().filter(used).map(|(_, import)| import);
        let paths = names.paths.iter().filter(|path| path.len() > 1);
        let found = imported
            .chain(paths)
            .filter_map(|name| self.defined_in(module, name, 0));
        found.filter(|other| other != module).collect()
    }

    /// Returns a circle of imports, if there is one.
    fn circle(&self) -> Option<Vec<Module>> {
        let graph: BTreeMap<_, _> = self
            .modules
            .keys()
            .map(|module| (module, self.imports(module)))
            .collect();
        let mut done = BTreeSet::new();
        graph
            .keys()
            .find_map(|start| walk(&graph, start, &mut vec![], &mut done))
    }
}

/// Follows the imports from a module; returns the circle that it meets.
fn walk<'a>(
    graph: &'a BTreeMap<&Module, BTreeSet<Module>>,
    module: &'a Module,
    way: &mut Vec<&'a Module>,
    done: &mut BTreeSet<&'a Module>,
) -> Option<Vec<Module>> {
    if let Some(at) = way.iter().position(|before| *before == module) {
        return Some(way[at..].iter().map(|module| (*module).clone()).collect());
    }
    if done.contains(module) {
        return None;
    }
    way.push(module);
    let circle = graph.get(module)?.iter().find_map(|next| walk(graph, next, way, done));
    way.pop();
    done.insert(module);
    circle
}

fn source(name: &str) -> PathBuf {
    super::root().join("crates").join(name).join("src")
}

#[test]
fn no_two_files_of_a_crate_import_each_other() {
    let crates = [
        "access", "api", "cli", "daemon", "demo", "fed", "files", "mesh", "node", "store", "transfer", "wire",
    ];
    for name in crates {
        if let Some(circle) = Crate::read(&source(name)).circle() {
            let names: Vec<_> = circle
                .iter()
                .map(|module| format!("crate::{}", module.join("::")))
                .collect();
            panic!("{name} has a circle of imports: {}", names.join(" -> "));
        }
    }
}

/// The rooms of the crate `node`, from the bottom to the top. A module imports from its own room and from those below.
const ROOMS: [&[&str]; 9] = [
    // Data: requests, answers, errors.
    &[
        "config", "error", "finding", "page", "reason", "refusal", "request", "view",
    ],
    // Parts that know no other part.
    &[
        "blob_demand",
        "disk",
        "event_log",
        "headers",
        "heads",
        "lifecycle",
        "metrics",
        "releases",
        "revisions",
        "slots",
        "spec_offers",
        "states",
        "syncer",
    ],
    &["catalog"],
    &["context"],
    // Help that several of the rooms above need.
    &[
        "announced",
        "archive",
        "creators",
        "first_comparison",
        "fixed_tensors",
        "succession",
        "upload",
    ],
    &["model"],
    &["service"],
    &["background"],
    &["handle", "scrape", "startup"],
];

#[test]
fn the_rooms_of_a_node_import_only_from_below() {
    let node = Crate::read(&source("node"));
    let floor = |module: &Module| {
        let room = module.first()?;
        let floor = ROOMS.iter().position(|rooms| rooms.contains(&room.as_str()));
        Some(floor.unwrap_or_else(|| panic!("the room {room} has no floor: add it to ROOMS")))
    };
    for module in node.modules.keys() {
        let Some(own) = floor(module) else { continue };
        for import in node.imports(module) {
            let below = floor(&import).is_some_and(|other| other <= own);
            assert!(below, "{} may not import {}", module.join("::"), import.join("::"));
        }
    }
}
