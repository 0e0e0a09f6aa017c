//! The supply chain: what the crate is made of keeps to the lists of deny.toml, and sbom.cdx.json
//! tells it as it is.
//!
//! `make deny` asks cargo-deny, which knows the advisories too but needs the network. This enforces
//! the same lists offline, with nothing but the files of the repository: sources and checksums,
//! bans, duplicates and version floors on `Cargo.lock`, licences and Rust versions on the bill of
//! materials, which must name exactly the packages of the lock. It links no RocksDB.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests too; clippy sees only functions marked so"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The value of `key = "value"`.
fn quoted(line: &str, key: &str) -> Option<String> {
    let rest = line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim();
    Some(rest.strip_prefix('"')?.split('"').next()?.to_owned())
}

fn packages(lock: &str) -> Vec<Package> {
    let blocks = lock.split("[[package]]").skip(1);
    let field = |block: &str, key| block.lines().find_map(|line| quoted(line, key));
    blocks
        .map(|block| Package {
            name: field(block, "name").unwrap(),
            version: field(block, "version").unwrap(),
            source: field(block, "source"),
            checksum: field(block, "checksum"),
        })
        .collect()
}

/// The entries of an array of deny.toml, one a line.
fn list(deny: &str, section: &str, key: &str) -> Vec<String> {
    let body = deny.split(&format!("\n[{section}]\n")).nth(1).unwrap();
    let body = body.split("\n[").next().unwrap();
    let start = format!("\n{key} = [\n");
    let array = format!("\n{body}");
    let array = array.split(&start).nth(1).unwrap().split("\n]").next().unwrap().to_owned();
    let entries = array.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    entries.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// The parts of a version before any `-` or `+`.
fn numbers(version: &str) -> [u64; 3] {
    let plain = version.split(['-', '+']).next().unwrap();
    let mut parts = plain.split('.').map(|part| part.parse().unwrap());
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Whether `name@*` or `name@<version` is this package.
fn is_banned(package: &Package, ban: &str) -> bool {
    let (name, which) = ban.split_once('@').unwrap();
    let matches = match which.strip_prefix('<') {
        Some(floor) => numbers(&package.version) < numbers(floor),
        None => which == "*",
    };
    package.name == name && matches
}

/// The packages of this repository: those of the workspace.
fn own() -> BTreeSet<String> {
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: Vec<String> = serde_json::from_str(members).unwrap();
    let manifests = members.iter().map(|member| read(&format!("{member}/Cargo.toml")));
    let name = |manifest: String| manifest.lines().find_map(|line| quoted(line, "name")).unwrap();
    manifests.chain([manifest.clone()]).map(name).collect()
}

/// Everything wrong with the packages of a lock file.
fn faults(packages: &[Package], deny: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let own = own();
    let bans = list(deny, "bans", "deny");
    for package in packages {
        let (name, version) = (&package.name, &package.version);
        match &package.source {
            None if own.contains(name) => {}
            Some(source) if source == REGISTRY => {
                if package.checksum.as_ref().is_none_or(|sum| sum.len() != 64) {
                    faults.push(format!("{name} {version} has no checksum"));
                }
            }
            source => faults.push(format!("{name} {version} is from {source:?}")),
        }
        for ban in bans.iter().filter(|ban| is_banned(package, ban)) {
            faults.push(format!("{name} {version} is banned by {ban}"));
        }
    }
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    let mut skips: BTreeSet<String> = list(deny, "bans", "skip").into_iter().collect();
    for (name, versions) in versions {
        let second = |version: &&&str| !skips.contains(&format!("{name}@{version}"));
        if versions.iter().filter(second).count() > 1 {
            faults.push(format!("{name} is there as {versions:?}; see `skip` in deny.toml"));
        }
        if versions.len() > 1 {
            for version in &versions {
                skips.remove(&format!("{name}@{version}"));
            }
        }
    }
    faults.extend(skips.iter().map(|skip| format!("`skip` of {skip} is not needed any more")));
    faults
}

/// An SPDX expression is accepted if it can be satisfied by the licences allowed.
///
/// `OR` binds weaker than `AND`; parentheses and `WITH` as in SPDX 2.3, annex D.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (accepted, rest) = either(&words, allowed);
    assert!(rest.is_empty(), "not an SPDX expression: {expression}");
    accepted
}

fn either<'w>(words: &'w [&'w str], allowed: &[String]) -> (bool, &'w [&'w str]) {
    let (mut accepted, mut rest) = both(words, allowed);
    while let ["OR", after @ ..] = rest {
        let (right, left) = both(after, allowed);
        (accepted, rest) = (accepted || right, left);
    }
    (accepted, rest)
}

fn both<'w>(words: &'w [&'w str], allowed: &[String]) -> (bool, &'w [&'w str]) {
    let (mut accepted, mut rest) = one(words, allowed);
    while let ["AND", after @ ..] = rest {
        let (right, left) = one(after, allowed);
        (accepted, rest) = (accepted && right, left);
    }
    (accepted, rest)
}

fn one<'w>(words: &'w [&'w str], allowed: &[String]) -> (bool, &'w [&'w str]) {
    let has = |licence: &str| allowed.iter().any(|allowed| allowed == licence);
    match words {
        ["(", inside @ ..] => match either(inside, allowed) {
            (accepted, [")", rest @ ..]) => (accepted, rest),
            (_, rest) => (false, rest),
        },
        [licence, "WITH", exception, rest @ ..] => {
            (has(&format!("{licence} WITH {exception}")), rest)
        }
        [licence, rest @ ..] => (has(licence), rest),
        [] => (false, words),
    }
}

fn components() -> Vec<Value> {
    let bom: Value = serde_json::from_str(&read("sbom.cdx.json")).unwrap();
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    assert_eq!(bom["metadata"]["component"]["name"], env!("CARGO_PKG_NAME"));
    assert_eq!(bom["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    bom["components"].as_array().unwrap().clone()
}

fn is_crate(component: &Value) -> bool {
    component["purl"].as_str().unwrap().starts_with("pkg:cargo/")
}

#[test]
fn the_lock_keeps_to_deny_toml() {
    let faults = faults(&packages(&read("Cargo.lock")), &read("deny.toml"));
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_bill_of_materials_names_what_is_locked() {
    let told: BTreeSet<(String, String, Option<String>)> = components()
        .iter()
        .filter(|component| is_crate(component))
        .map(|component| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let sum = text(&component["hashes"][0]["content"]);
            (text(&component["name"]).unwrap(), text(&component["version"]).unwrap(), sum)
        })
        .collect();
    let locked = packages(&read("Cargo.lock")).into_iter();
    let locked = locked.filter(|package| package.source.is_some());
    let locked = locked.map(|package| (package.name, package.version, package.checksum)).collect();
    assert_eq!(told, locked, "`make sbom` writes sbom.cdx.json anew");
}

#[test]
fn the_bill_of_materials_has_the_libraries_inside_packages() {
    let components = components();
    let version = |name: &str, crates: bool| {
        let is = |entry: &&Value| is_crate(entry) == crates && entry["name"] == *name;
        components.iter().find(is).unwrap()["version"].as_str().unwrap().to_owned()
    };
    let rocksdb = version("rocksdb", false);
    assert!(version("librocksdb-sys", true).ends_with(&format!("+{rocksdb}")), "{rocksdb}");
    assert_eq!(version("aws-lc", false).split('.').count(), 3);
}

#[test]
fn licences_are_among_those_allowed() {
    let allowed = list(&read("deny.toml"), "licenses", "allow");
    for component in components().iter().filter(|component| is_crate(component)) {
        let licence = component["licenses"][0]["expression"].as_str().unwrap();
        assert!(is_allowed(licence, &allowed), "{}: {licence}", component["name"]);
    }
}

#[test]
fn no_package_needs_a_newer_rust_than_is_declared() {
    let declared = numbers(env!("CARGO_PKG_RUST_VERSION"));
    for component in components() {
        let properties = component["properties"].as_array();
        let known = properties.and_then(|all| {
            let rust = all.iter().find(|property| property["name"] == "cargo:rust-version")?;
            rust["value"].as_str()
        });
        let needs = known.map_or([0; 3], numbers);
        assert!(needs <= declared, "{} needs {needs:?}", component["name"]);
    }
}

#[test]
fn each_rule_can_fail() {
    let deny = read("deny.toml");
    let lock = read("Cargo.lock");
    let broken = |change: fn(&mut Vec<Package>)| {
        let mut packages = packages(&lock);
        change(&mut packages);
        faults(&packages, &deny)
    };
    let add = |name: &str, version: &str, source: &str| Package {
        name: name.to_owned(),
        version: version.to_owned(),
        source: Some(source.to_owned()),
        checksum: Some("0".repeat(64)),
    };
    for (package, wanted) in [
        (add("openssl", "0.10.0", REGISTRY), "banned"),
        (add("ed25519-dalek", "1.0.1", REGISTRY), "ed25519-dalek@<2.0.0"),
        (add("curve25519-dalek", "4.1.2", REGISTRY), "curve25519-dalek@<4.1.3"),
        (add("aes-gcm", "0.10.2", REGISTRY), "aes-gcm@<0.10.3"),
        (add("zeroize", "1.0.0", REGISTRY), "see `skip`"),
        (add("some", "1.0.0", "git+https://example.org/some"), "is from"),
    ] {
        let mut all = packages(&lock);
        all.push(package);
        let found = faults(&all, &deny);
        assert!(found.iter().any(|fault| fault.contains(wanted)), "{wanted}: {found:?}");
    }
    let nowhere = broken(|all| all.iter_mut().for_each(|package| package.source = None));
    assert!(nowhere.iter().any(|fault| fault.contains("is from None")));
    let no_sums = broken(|all| all.iter_mut().for_each(|package| package.checksum = None));
    assert!(no_sums.iter().any(|fault| fault.contains("no checksum")));
    let no_syn = broken(|all| all.retain(|package| package.name != "syn"));
    assert!(no_syn.iter().any(|fault| fault.contains("not needed any more")));

    let allowed = list(&deny, "licenses", "allow");
    for (licence, accepted) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("MIT OR GPL-3.0-only", true),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR GPL-3.0-only) AND Unicode-3.0", true),
        ("GPL-3.0-only AND MIT OR ISC", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-3.0-only WITH Classpath-exception-2.0", false),
    ] {
        assert_eq!(is_allowed(licence, &allowed), accepted, "{licence}");
    }
}
