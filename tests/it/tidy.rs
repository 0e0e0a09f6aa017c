//! The repository keeps its own rules: layers, sizes, names in documents.
//!
//! Imports point down the table of [`layer`]; who may import a neighbour is in [`NEIGHBOURS`]. The
//! rules are checked on the text of the sources, without what only tests compile, and each finding
//! has its file and line. The last test shows that the checks can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::sources;

const LONGEST: usize = 500;

/// Layers in tenths; `None`: not in the table. Give a new module a layer here and in
/// docs/design.md.
fn layer(module: &str) -> Option<u32> {
    Some(match module {
        "error" | "id" | "codec" | "redact" => 0,
        "observe" => 5,
        "crypto" | "vector" | "filter" => 10,
        "key_provider" => 15,
        "store" => 20,
        "config" | "condition" => 25,
        "commit" | "keyring" => 30,
        "cache" => 35,
        "handle" | "tree" => 40,
        "attributes" => 45,
        "index" => 50,
        "purge" => 55,
        "query" | "delete" | "users" | "database" | "verify" | "optimize" | "history"
        | "rotate" | "reencrypt" | "bench_support" => 60,
        "fuzz_support" => 65,
        "lib" => 70,
        _ => return None,
    })
}

/// Imports within a layer: who, and what.
const NEIGHBOURS: [(&str, &str); 4] =
    [("codec", "error"), ("error", "id"), ("id", "error"), ("keyring", "commit")];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// The first part of a path below src: `src/store/key.rs` is of `store`.
fn module_of(path: &str) -> &str {
    path.trim_start_matches("src/").split(['/', '.']).next().unwrap()
}

/// The sources that are compiled without `cfg(test)`, with the lines of test modules emptied.
fn code() -> Vec<(String, String)> {
    let all = sources("src");
    let mut test_only = Vec::new();
    for (path, text) in &all {
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]") {
            let declared = pair[1].trim_start_matches("pub(crate) ").strip_prefix("mod ");
            if let Some(name) = declared.and_then(|rest| rest.strip_suffix(';')) {
                let parent = match path.as_str() {
                    "src/lib.rs" => "src",
                    path => path.trim_end_matches(".rs"),
                };
                test_only.push(format!("{parent}/{name}.rs"));
                test_only.push(format!("{parent}/{name}/"));
            }
        }
    }
    let compiled = |path: &str| !test_only.iter().any(|only| path.starts_with(only));
    let all = all.into_iter().filter(|(path, _)| compiled(path));
    all.map(|(path, text)| (path, without_tests(&text))).collect()
}

fn without_tests(text: &str) -> String {
    let (mut out, mut skipping, mut after_cfg) = (String::new(), false, false);
    for line in text.lines() {
        let module = line.contains("mod ") && line.ends_with('{');
        skipping |= after_cfg && module;
        after_cfg = line == "#[cfg(test)]";
        let comment = line.trim_start().starts_with("//");
        if !skipping && !comment {
            out.push_str(line);
        }
        out.push('\n');
        skipping &= line != "}";
    }
    out
}

/// What follows each `crate::`, with its line.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (start, _) in line.match_indices("crate::") {
            let before = line[..start].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                found.push((number + 1, line[start + 7..].to_owned()));
            }
        }
    }
    found
}

fn layer_faults(path: &str, text: &str) -> Vec<String> {
    let own = module_of(path);
    if own == "bin" {
        // A crate of its own, which the compiler holds to the public API.
        return Vec::new();
    }
    let Some(own_layer) = layer(own) else { return vec![format!("{path}: not in the table")] };
    let mut faults = Vec::new();
    for (line, rest) in imports(text) {
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let fault = match layer(&name) {
            _ if name == own => None,
            _ if rest.starts_with('{') => Some("one `use` for each module, please".to_owned()),
            None if own == "lib" => None,
            None => Some(format!("`{name}` is not in the table")),
            Some(other) if other < own_layer => None,
            Some(_) if NEIGHBOURS.contains(&(own, name.as_str())) => None,
            Some(_) => Some(format!("`{own}` must not import `{name}`")),
        };
        let rest_of = |module: &str| (name == module).then(|| rest[name.len()..].to_owned());
        let fault = fault.or_else(|| match (own, rest_of("store"), rest_of("crypto")) {
            ("config", Some(rest), _) if rest != "::Durability;" => {
                Some("`config` takes only `Durability` from `store`".to_owned())
            }
            ("store", _, Some(rest)) if !may_join(path, &rest) => {
                Some("only `store/record` joins `store` and `crypto`".to_owned())
            }
            _ => None,
        });
        faults.extend(fault.map(|fault| format!("{path}:{line}: {fault}")));
    }
    faults
}

/// Whether this file of the store may import this from `crypto`.
fn may_join(path: &str, rest: &str) -> bool {
    match path {
        "src/store/key.rs" => ["::kdf::Locator;", "::wrap::Right;"].contains(&rest),
        _ => path == "src/store/record.rs" || path.starts_with("src/store/record/"),
    }
}

/// Lints that keep code from panicking.
const PANICS: [&str; 4] = ["expect_used", "indexing_slicing", "panic", "unwrap_used"];

/// An exception from a lint is an `expect`, which the compiler refuses when it is not needed any
/// more, and never an `allow`. One that lets code panic has to give its reason.
fn exception_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (start, _) in text.match_indices("allow(") {
        if text[..start].ends_with("#[") || text[..start].ends_with("#![") {
            faults.push(format!("{path}: `expect` instead of `allow`, please"));
        }
    }
    for (start, _) in text.match_indices("expect(clippy::") {
        let attribute = text[start..].split(")]").next().unwrap();
        let panics = PANICS.iter().any(|lint| attribute.contains(&format!("clippy::{lint}")));
        if panics && !attribute.contains("reason = \"") {
            faults.push(format!("{path}: why can it not panic? {attribute}"));
        }
    }
    faults
}

#[test]
fn exceptions_from_lints_are_reasoned_and_never_allowed() {
    let code = code();
    let faults: Vec<_> =
        code.iter().flat_map(|(path, text)| exception_faults(path, text)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    for bad in ["#[allow(clippy::unwrap_used)]", "#[expect(clippy::expect_used)]"] {
        assert_eq!(exception_faults("x", bad).len(), 1, "{bad}");
    }
    let good = r#"#[expect(clippy::expect_used, reason = "the guard keeps it")]"#;
    assert_eq!(exception_faults("x", good), [""; 0]);
}

#[test]
fn imports_point_down() {
    let code = code();
    assert!(code.len() > 20);
    let seen: usize = code.iter().map(|(_, text)| imports(text).len()).sum();
    assert!(seen > 100);
    let faults: Vec<String> =
        code.iter().flat_map(|(path, text)| layer_faults(path, text)).collect();
    assert_eq!(faults, [""; 0]);
}

#[test]
fn the_storage_engine_is_named_in_one_place() {
    for (path, text) in code() {
        for (number, line) in text.lines().enumerate() {
            let own = line.replace("crate::store::rocksdb::", "");
            let named = own.contains("rocksdb::");
            let place = format!("{path}:{}", number + 1);
            let there = path.starts_with("src/store/rocksdb");
            assert!(!named || there, "{place} names RocksDB");
        }
    }
}

/// Where code may be unsafe, and why.
const UNSAFE: [(&str, &str); 2] = [
    ("src/vector/kernels", "instructions of the processor"),
    ("tests/faults/lib.rs", "a file system of RocksDB's that fails; in no build but that of tests"),
];

/// The places in a source, comments aside, with the keyword.
fn unsafe_lines(path: &str, text: &str) -> Vec<String> {
    // In two parts, so that this line has it not.
    let keyword = concat!("un", "safe");
    let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.filter(|(_, line)| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == keyword)
    })
    .map(|(number, _)| format!("{path}:{}", number + 1))
    .collect()
}

#[test]
fn unsafe_code_is_in_the_kernels_and_in_one_file_of_the_tests() {
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    for directory in ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"] {
        if !root().join(directory).is_dir() {
            continue;
        }
        for (path, text) in sources(directory) {
            let lines = unsafe_lines(&path, &text);
            let allowed = UNSAFE.iter().find(|(place, _)| path.starts_with(place));
            assert!(lines.is_empty() || allowed.is_some(), "{lines:?}");
            used.extend(allowed.copied().filter(|_| !lines.is_empty()));
        }
    }
    assert_eq!(used.len(), UNSAFE.len(), "an exception that nothing needs");
    let found = unsafe_lines("x", concat!("// un", "safe\n  un", "safe { f() }\nunsafe_f();"));
    assert_eq!(found, ["x:2"]);
}

#[test]
fn no_source_is_longer_than_a_sitting_or_beyond_ascii() {
    let mut checked = 0;
    for directory in ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"] {
        if !root().join(directory).is_dir() {
            continue;
        }
        for (path, text) in sources(directory) {
            let lines = text.lines().count();
            assert!(lines <= LONGEST, "{path} has {lines} lines, over {LONGEST}");
            for (number, line) in text.lines().enumerate() {
                assert!(line.is_ascii(), "{path}:{}: not ASCII; write \\u{{..}}", number + 1);
            }
            checked += 1;
        }
    }
    assert!(checked > 30);
}

/// README, docs and changelog, as far as there are any.
fn documents() -> Vec<(String, String)> {
    let mut paths: Vec<String> = ["README.md", "CHANGELOG.md"].map(str::to_owned).into();
    if let Ok(entries) = fs::read_dir(root().join("docs")) {
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let pages = names.filter(|name| Path::new(name).extension().is_some_and(|e| e == "md"));
        paths.extend(pages.map(|name| format!("docs/{name}")));
    }
    paths.into_iter().filter_map(|path| read(&path).map(|text| (path, text))).collect()
}

/// The paths of the repository that a line names in backticks.
fn paths_in(line: &str) -> Vec<&str> {
    let tops = ["src/", "tests/", "docs/", "scripts/", "data/", "benches/", "examples/", "fuzz/"];
    let quoted = line.split('`').skip(1).step_by(2);
    quoted
        .flat_map(str::split_whitespace)
        .filter(|word| tops.iter().any(|top| word.starts_with(top)))
        .map(|word| word.split(':').next().unwrap())
        .collect()
}

#[test]
fn documents_name_files_that_exist() {
    for (document, text) in documents() {
        for (number, line) in text.lines().enumerate() {
            for path in paths_in(line) {
                let star = path.split(['*', '<', '{']).next().unwrap();
                let (parent, _) = star.rsplit_once('/').unwrap();
                let there = root().join(path).exists()
                    || (star.len() < path.len() && root().join(parent).is_dir());
                assert!(there, "{document}:{}: there is no {path}", number + 1);
            }
        }
    }
}

/// Every `const *FORMAT: u8`, as file and name, with its value.
fn formats() -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for (path, text) in code() {
        for line in text.lines().filter(|line| line.contains("FORMAT: u8 =")) {
            let declared = line.split("const ").nth(1).and_then(|rest| rest.split_once(": u8 = "));
            if let Some((name, value)) = declared {
                let value = value.trim_end_matches(';').to_owned();
                found.insert((path.clone(), name.to_owned()), value);
            }
        }
    }
    found
}

/// What docs/format.md calls them.
const FORMATS: [(&str, &str, &str); 20] = [
    ("src/database.rs", "FORMAT", "database record"),
    ("src/store/names.rs", "NAME_FORMAT", "name record"),
    ("src/commit.rs", "FORMAT", "commit"),
    ("src/commit.rs", "HEAD_FORMAT", "head record"),
    ("src/commit/fold.rs", "FORMAT", "fold"),
    ("src/commit.rs", "SET_FORMAT", "set-hash record"),
    ("src/keyring/table.rs", "FORMAT", "grant table"),
    ("src/keyring/roster.rs", "FORMAT", "roster record"),
    ("src/crypto/wrap.rs", "FORMAT", "wrap"),
    ("src/store/owed.rs", "OWED_FORMAT", "purge owed"),
    ("src/store/owed.rs", "CHECKPOINT_FORMAT", "checkpoint made"),
    ("src/keyring/table/signature.rs", "FORMAT", "grant-table signature"),
    ("src/store/record/item.rs", "ITEM_FORMAT", "item record"),
    ("src/store/record/item.rs", "PAYLOAD_FORMAT", "payload value"),
    ("src/store/record/node.rs", "NODE_FORMAT", "tree node"),
    ("src/attributes/block.rs", "POSTING_FORMAT", "posting block"),
    ("src/attributes/block.rs", "DIRECTORY_FORMAT", "directory block"),
    ("src/attributes/block.rs", "COLUMN_FORMAT", "column block"),
    ("src/index/list.rs", "FORMAT", "list cursor"),
    ("src/index/list.rs", "METADATA_FORMAT", "metadata cursor"),
];

#[test]
fn the_format_document_has_every_kind_and_every_version() {
    let formats = formats();
    let known = FORMATS.map(|(path, name, _)| (path.to_owned(), name.to_owned()));
    let found: BTreeSet<_> = formats.keys().cloned().collect();
    assert_eq!(found, known.into_iter().collect(), "give the format a row in docs/format.md");
    let keys = read("src/store/key.rs").unwrap();
    let kinds: Vec<&str> = keys
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = 0x"))
        .map(|(_, byte)| byte)
        .collect();
    assert!(kinds.len() >= 13, "{kinds:?}");
    let Some(document) = read("docs/format.md") else { return };
    for kind in kinds {
        assert!(document.contains(&format!("| `{kind}` |")), "docs/format.md lacks kind {kind}");
    }
    for (path, constant, name) in FORMATS {
        let version = &formats[&(path.to_owned(), constant.to_owned())];
        let row = document.lines().find(|line| line.starts_with(&format!("| {name}")));
        let current = row.is_some_and(|row| row.contains(&format!("| {version} |")));
        assert!(current, "docs/format.md lacks {name}, version {version}");
    }
}

#[test]
fn the_changelog_knows_the_version() {
    let Some(changelog) = read("CHANGELOG.md") else { return };
    assert!(changelog.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_checks_can_fail() {
    let fault = |path: &str, line: &str| layer_faults(path, line).join("; ");
    let upward = fault("src/store/memory.rs", "use crate::index::Index;");
    assert_eq!(upward, "src/store/memory.rs:1: `store` must not import `index`");
    assert!(fault("src/query.rs", "\nlet x = crate::users::User;").starts_with("src/query.rs:2:"));
    assert!(fault("src/commit.rs", "use crate::keyring;").contains("must not import `keyring`"));
    assert!(fault("src/tree/plan.rs", "use crate::handle;").contains("must not import `handle`"));
    assert!(fault("src/new.rs", "").contains("not in the table"));
    assert!(fault("src/query.rs", "use crate::new::X;").contains("not in the table"));
    assert!(fault("src/query.rs", "use crate::{users, index};").contains("one `use`"));
    assert!(fault("src/config.rs", "use crate::store::Engine;").contains("only `Durability`"));
    let joined = "use crate::crypto::aead::Cipher;";
    assert!(fault("src/store/memory.rs", joined).contains("joins"));
    assert!(fault("src/store/key.rs", joined).contains("joins"));
    assert!(fault("src/crypto/kdf.rs", "use crate::store::key;").contains("must not import"));
    let allowed = [
        ("src/store/record.rs", joined),
        ("src/keyring.rs", "use crate::commit;"),
        ("src/index/get.rs", "use crate::index::Index; use crate::vector;"),
        ("src/config.rs", "use crate::store::Durability;"),
        ("src/query.rs", "#[doc = $crate::x]"),
    ];
    for (path, line) in allowed {
        assert_eq!(layer_faults(path, line), [""; 0]);
    }
    let tests =
        "a\n#[cfg(test)]\nmod tests {\n    use crate::index;\n}\nuse crate::id;\n// crate::x";
    assert_eq!(imports(&without_tests(tests)), [(6, "id;".to_owned())]);
    assert_eq!(
        paths_in("see `src/x.rs` and `make src/y.rs:7`, not src/z.rs"),
        ["src/x.rs", "src/y.rs"]
    );
}
