//! What docs/architecture.md claims of modules: each imports only from those above it in the table, and no two files
//! import from each other, directly or around a corner.
//!
//! Imports are the paths that the product's sources name, in `use` items and elsewhere; what is compiled for tests only is
//! left out. A path leads to the file that defines its item: where a `mod.rs` re-exports it, to the file behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates of the workspace: folder of the sources, and the module that crate paths begin at.
const CRATES: [&str; 4] = ["src", "plugin/src", "cli/src", "service/src"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text without comments and the contents of strings and characters.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut i) = (String::with_capacity(text.len()), 0);
    let at = |i: usize| chars.get(i).copied().unwrap_or(' ');
    while i < chars.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            ('r', '"' | '#') if !at(i.wrapping_sub(1)).is_alphanumeric() && raw_string(&chars, i).is_some() => {
                i = raw_string(&chars, i).unwrap_or(i + 1);
            }
            ('"', _) => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
                out.push_str("\"\"");
            }
            // A character, not a lifetime.
            ('\'', '\\') => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (c, _) => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

/// Where a raw string that begins at `i` ends.
fn raw_string(chars: &[char], i: usize) -> Option<usize> {
    let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(i + 1 + hashes) != Some(&'"') {
        return None;
    }
    let end = (i + 2 + hashes..chars.len())
        .find(|&j| chars[j] == '"' && chars[j + 1..].iter().take_while(|c| **c == '#').count() >= hashes)?;
    Some(end + 1 + hashes)
}

/// The code without items that are compiled for tests only, and the names of modules that are.
fn without_tests(code: &str) -> (String, BTreeSet<String>) {
    const ATTRIBUTES: [&str; 2] = ["#[cfg(test)]", "#[cfg(any(test, fuzzing))]"];
    let (mut kept, mut rest, mut modules) = (String::new(), code, BTreeSet::new());
    let next = |rest: &str| {
        let found = ATTRIBUTES.iter().filter_map(|a| Some((rest.find(a)?, a.len())));
        found.min()
    };
    while let Some((at, length)) = next(rest) {
        kept.push_str(&rest[..at]);
        rest = rest[at + length..].trim_start();
        while rest.starts_with("#[") {
            let end = rest.find(']').map_or(rest.len(), |end| end + 1);
            rest = rest[end..].trim_start();
        }
        let end = item_end(rest);
        let words: Vec<&str> = rest[..end].split_whitespace().take(3).collect();
        if let Some(mod_at) = words.iter().position(|w| *w == "mod")
            && let Some(name) = words.get(mod_at + 1)
        {
            modules.insert(name.trim_end_matches([';', '{']).to_string());
        }
        rest = &rest[end..];
    }
    kept.push_str(rest);
    (kept, modules)
}

/// Where the item that `text` begins with ends: at its semicolon, its closing brace, or, for a field, its comma.
fn item_end(text: &str) -> usize {
    let first = text
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or("");
    let keywords = [
        "pub",
        "fn",
        "use",
        "mod",
        "impl",
        "struct",
        "enum",
        "const",
        "static",
        "type",
        "unsafe",
        "trait",
        "macro_rules",
    ];
    let is_item = keywords.contains(&first);
    let (mut braces, mut brackets) = (0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '{' => braces += 1,
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            '}' => {
                braces -= 1;
                // `use a::{b};` goes on.
                if braces <= 0 && first != "use" && !text[..i].contains(" use ") {
                    return i + 1;
                }
            }
            ';' if braces == 0 && brackets == 0 => return i + 1,
            ',' if braces == 0 && brackets == 0 && !is_item => return i + 1,
            _ => {}
        }
    }
    text.len()
}

/// A module of a crate: its path from the crate's root, and its file.
#[derive(Debug, Clone)]
struct Module {
    file: PathBuf,
    code: String,
    children: BTreeSet<String>,
}

/// A crate's product modules by path.
struct Crate {
    modules: BTreeMap<Vec<String>, Module>,
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let mut modules = BTreeMap::new();
        let top = ["lib.rs", "main.rs"].map(|f| folder.join(f));
        let top = top.iter().find(|f| f.exists()).expect("a crate's root");
        Self::add(&mut modules, Vec::new(), top, folder);
        Self { modules }
    }

    fn add(modules: &mut BTreeMap<Vec<String>, Module>, path: Vec<String>, file: &Path, folder: &Path) {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let (code, _) = without_tests(&code_only(&text));
        let mut children = BTreeSet::new();
        for item in code.split([';', '{', '}']) {
            let mut words = item.split_whitespace().rev();
            let (name, keyword) = (words.next(), words.next());
            if keyword != Some("mod") {
                continue;
            }
            let name = name.expect("a name");
            let candidates = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
            // Modules in braces have no file.
            if let Some(file) = candidates.iter().find(|f| f.exists()) {
                children.insert(name.to_string());
                let path = [&path[..], &[name.to_string()]].concat();
                Self::add(modules, path, file, &folder.join(name));
            }
        }
        let module = Module {
            file: file.to_path_buf(),
            code,
            children,
        };
        modules.insert(path, module);
    }

    /// The files that `path`, as written in the module `from`, leads to.
    fn resolve(&self, from: &[String], path: &[String]) -> BTreeSet<PathBuf> {
        let mut absolute: Vec<String> = match path[0].as_str() {
            "crate" => path[1..].to_vec(),
            "self" => [from, &path[1..]].concat(),
            "super" => {
                let up = path.iter().take_while(|p| *p == "super").count();
                [&from[..from.len().saturating_sub(up)], &path[up..]].concat()
            }
            first if self.modules[from].children.contains(first) => [from, path].concat(),
            _ => return BTreeSet::new(),
        };
        for _ in 0..16 {
            let depth = (0..=absolute.len())
                .rev()
                .find(|&n| self.modules.contains_key(&absolute[..n]))
                .unwrap_or(0);
            let (module, rest) = (&absolute[..depth], &absolute[depth..]);
            let Some(item) = rest.first() else {
                return BTreeSet::from([self.modules[module].file.clone()]);
            };
            // Where the module re-exports the item, go on behind it.
            let mut next = None;
            let mut globs = BTreeSet::new();
            for (is_public, tree) in uses(&self.modules[module].code) {
                if !is_public {
                    continue;
                }
                for (target, name) in expand(&tree) {
                    if name == *item && target[0] != "crate" {
                        next = Some([module, &target, &rest[1..]].concat());
                    } else if name == *item {
                        next = Some([&target[1..], &rest[1..]].concat());
                    } else if name == "*" && self.modules[module].children.contains(&target[0]) {
                        let target = [module, &target[..target.len() - 1]].concat();
                        globs.extend(self.modules.get(&target).map(|m| m.file.clone()));
                    }
                }
            }
            match next {
                Some(target) if target != absolute => absolute = target,
                _ if !globs.is_empty() => return globs,
                _ => return BTreeSet::from([self.modules[module].file.clone()]),
            }
        }
        BTreeSet::new()
    }

    /// The files that each file imports from.
    fn imports(&self) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
        let mut all = BTreeMap::new();
        for (path, module) in &self.modules {
            let mut targets = BTreeSet::new();
            let mut code = module.code.clone();
            for (is_public, tree) in uses(&module.code) {
                // What a module re-exports of its children is a declaration.
                let declares = |target: &[String]| is_public && module.children.contains(&target[0]);
                for (target, _) in expand(&tree) {
                    if !declares(&target) {
                        let target: Vec<_> = target.into_iter().filter(|part| part != "*").collect();
                        targets.extend(self.resolve(path, &target));
                    }
                }
                code = code.replace(&tree, "");
            }
            for target in inline_paths(&code) {
                targets.extend(self.resolve(path, &target));
            }
            targets.remove(&module.file);
            all.insert(module.file.clone(), targets);
        }
        all
    }
}

/// The trees of the `use` items, and whether they are re-exports.
fn uses(code: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].trim_end();
        let is_word = rest[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_');
        let after = &rest[at + 4..];
        let end = after.find(';').unwrap_or(after.len());
        if !is_word {
            let line = before.rsplit([';', '}', '{', ']']).next().unwrap_or("");
            found.push((line.contains("pub"), after[..end].to_string()));
        }
        rest = &after[if is_word { 0 } else { end }..];
    }
    found
}

/// Each path of a `use` tree, and the name that it is known by.
fn expand(tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let prefix: Vec<String> = parts(&tree[..open]);
        let inside = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
        let (mut depth, mut start, mut all) = (0, 0, Vec::new());
        let cuts: Vec<usize> = inside
            .char_indices()
            .filter(|(_, c)| {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                *c == ',' && depth == 0
            })
            .map(|(i, _)| i)
            .chain([inside.len()])
            .collect();
        for cut in cuts {
            let part = inside[start..cut].trim();
            start = (cut + 1).min(inside.len());
            if part.is_empty() {
                continue;
            }
            for (path, name) in expand(part) {
                let name = if name == "self" {
                    prefix.last().cloned().unwrap_or_default()
                } else {
                    name
                };
                let path = path.into_iter().filter(|p| p != "self");
                all.push((prefix.iter().cloned().chain(path).collect(), name));
            }
        }
        return all;
    }
    let (path, alias) = match tree.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim().to_string())),
        None => (tree, None),
    };
    let path = parts(path);
    let name = alias.unwrap_or_else(|| path.last().cloned().unwrap_or_default());
    if path.is_empty() {
        Vec::new()
    } else {
        vec![(path, name)]
    }
}

fn parts(path: &str) -> Vec<String> {
    let parts = path.split("::").map(|p| p.trim().to_string());
    parts.filter(|p| !p.is_empty()).collect()
}

/// Paths from `crate` and `super` outside of `use` items.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        let mut rest = code;
        while let Some(at) = rest.find(start) {
            let joined = rest[..at]
                .chars()
                .next_back()
                .is_some_and(|c| c.is_alphanumeric() || "_:".contains(c));
            let path = &rest[at..];
            let end = path
                .char_indices()
                .find(|&(_, c)| !(c.is_alphanumeric() || c == '_' || c == ':'))
                .map_or(path.len(), |(i, _)| i);
            let path_parts = parts(&path[..end]);
            // `pub(in crate::x)` and `$crate` are no imports.
            if !joined && path_parts.len() > 1 {
                found.push(path_parts);
            }
            rest = &rest[at + start.len()..];
        }
    }
    found
}

/// Files that import from each other, directly or around a corner.
fn circles(imports: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Vec<Vec<PathBuf>> {
    let reach = |from: &PathBuf| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(file) = next.pop() {
            for target in imports.get(&file).into_iter().flatten() {
                if seen.insert(target.clone()) {
                    next.push(target.clone());
                }
            }
        }
        seen
    };
    let reachable: BTreeMap<_, _> = imports.keys().map(|file| (file, reach(file))).collect();
    let mut circles: BTreeSet<Vec<PathBuf>> = BTreeSet::new();
    for (file, targets) in &reachable {
        if targets.contains(*file) {
            let circle = targets
                .iter()
                .filter(|t| reachable.get(t).is_some_and(|back| back.contains(*file)));
            circles.insert(circle.cloned().collect());
        }
    }
    circles.into_iter().collect()
}

fn relative(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn all_imports() -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    CRATES
        .iter()
        .flat_map(|folder| Crate::read(&root().join(folder)).imports())
        .collect()
}

/// The folders and files of the table of modules, in its order.
fn table() -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let paths = rows.filter_map(|row| row.split_once('`').map(|(path, _)| path.to_string()));
    paths
        .filter(|path| CRATES.iter().any(|folder| path.starts_with(&format!("{folder}/"))))
        .collect()
}

#[test]
fn no_two_files_import_from_each_other() {
    let circles = circles(&all_imports());
    let names: Vec<Vec<String>> = circles
        .iter()
        .map(|circle| circle.iter().map(|file| relative(file)).collect())
        .collect();
    println!("{} circles of files: {names:#?}", names.len());
    assert!(names.is_empty(), "{} circles: {names:#?}", names.len());
}

#[test]
fn modules_import_from_those_above_them() {
    let table = table();
    assert!(
        table.len() > 10,
        "no table of modules in docs/architecture.md: {table:?}"
    );
    // The longest entry that a file begins with.
    let row = |file: &Path| {
        let name = relative(file);
        let fitting = table.iter().enumerate().filter(|(_, path)| {
            let folder = path.ends_with('/') && name.starts_with(path.as_str());
            folder || name == **path
        });
        fitting.max_by_key(|(_, path)| path.len()).map(|(row, _)| row)
    };
    let mut faults = Vec::new();
    for (file, targets) in all_imports() {
        let Some(own) = row(&file) else {
            faults.push(format!("{} is in no row of the table", relative(&file)));
            continue;
        };
        for target in targets {
            // A module's root declares what is in it.
            if let Some(theirs) = row(&target)
                && theirs > own
            {
                faults.push(format!(
                    "{} ({}) imports from {} ({}), which stands below it",
                    relative(&file),
                    table[own],
                    relative(&target),
                    table[theirs]
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The reader itself, on what it has to understand.
#[test]
fn the_reader_understands_rust() {
    let code =
        code_only("use a::b; // use c::d;\n/* use e::f; /* nested */ */ let s = \"use g::h;\"; let c = '\"'; r#\"x\"#");
    assert!(code.contains("use a::b;") && !code.contains("c::d") && !code.contains("e::f") && !code.contains("g::h"));
    let (kept, modules) = without_tests(
        "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\nuse x::{y, z};\n#[cfg(test)]\nmod tests { fn f() { {} } }\nuse c::d;",
    );
    assert!(kept.contains("mod a;") && kept.contains("use c::d;"), "{kept}");
    assert!(
        !kept.contains("mod b") && !kept.contains("x::") && !kept.contains("fn f"),
        "{kept}"
    );
    assert_eq!(modules, BTreeSet::from(["b".to_string(), "tests".to_string()]));
    let expanded: Vec<_> = expand("crate::a::{self, b::C as D, e::*}")
        .into_iter()
        .map(|(path, name)| (path.join("::"), name))
        .collect();
    let expected = [("crate::a", "a"), ("crate::a::b::C", "D"), ("crate::a::e::*", "*")];
    assert_eq!(
        expanded,
        expected.map(|(path, name)| (path.to_string(), name.to_string()))
    );
    let files: Vec<PathBuf> = ["a", "b", "c", "d"].map(PathBuf::from).into();
    let edges = |pairs: &[(usize, usize)]| {
        let mut imports: BTreeMap<_, BTreeSet<_>> = files.iter().map(|f| (f.clone(), BTreeSet::new())).collect();
        for &(from, to) in pairs {
            imports.get_mut(&files[from]).unwrap().insert(files[to].clone());
        }
        circles(&imports).len()
    };
    assert_eq!(edges(&[(0, 1), (1, 2), (0, 2), (2, 3)]), 0);
    assert_eq!(edges(&[(0, 1), (1, 2), (2, 0), (2, 3)]), 1);
    assert_eq!(edges(&[(0, 1), (1, 0), (2, 3), (3, 2)]), 2);
}
