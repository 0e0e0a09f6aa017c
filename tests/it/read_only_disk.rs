//! A disk that may not be written to any more: remounted read-only, or without permission.
//!
//! What needs writing is refused with an error that names the reason, reading goes on, and nothing is
//! lost: once the disk can be written to again, everything that was acknowledged is there and more
//! can be written. The read-only mount is a tmpfs in a mount namespace of its own; permission is lost
//! in a process that is not root. Where the system allows neither, the test says so and passes.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use sealvec::{
    Database, Include, Index, IndexConfig, Item, Metric, Options, Permissions, PurgeOptions,
    PurgeScope, Result, Tuning, Update,
};

use crate::support::{NAME, ROOT, index_key, refused, root, small, user_id, user_key, write_key};

/// Each command prints its exit code, and what it said if it failed.
const SCRIPT: &str = r#"
set -eu
mkdir -p "$DISK"
mount -t tmpfs -o size=60m tmpfs "$DISK"
run() { "$SEALVEC" --db "$DISK/db" --key-file "$KEY" "$@"; }
try() {
    status=0
    said=$(run "$@" 2>&1 >/dev/null </dev/null) || status=$?
    echo "$status $said"
}
import="import notes --vectors $VECTORS --items $ITEMS --overwrite"
run create notes --metric euclidean >&2
run $import >&2
run stats notes --output json
mount -o remount,ro "$DISK"
try $import
try delete notes a
try optimize notes
try purge notes
try users grant notes --user-id a11ce000000000000000000000000001 --user-key-file "$KEY.2" --permissions read
try users revoke notes --user-id a11ce000000000000000000000000001
try create more --metric euclidean
try drop notes --yes
echo --
try stats notes
try get notes a
try list notes
try count notes
try query notes --like a
try history notes
try verify notes
echo --
run stats notes --output json
mount -o remount,rw "$DISK"
run stats notes --output json
try delete notes a
try verify notes
run count notes
"#;

#[test]
fn a_disk_that_is_remounted_read_only_refuses_writes_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let probe = unshare().args(["mount", "-t", "tmpfs", "tmpfs"]).arg(directory.path()).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        println!("skipped: this system allows no mount namespace");
        return;
    }
    write_key(&at("index.key"), &"07".repeat(32));
    write_key(&at("index.key.2"), &"08".repeat(32));
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1), }\n";
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    let rows: Vec<u8> = [1.0_f32, 2.0, 3.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let npy = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &rows[..]].concat();
    fs::write(at("rows.npy"), npy).unwrap();
    fs::write(at("items.jsonl"), "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n").unwrap();
    let Output { status, stdout, stderr } = unshare()
        .args(["sh", "-c", SCRIPT])
        .env("SEALVEC", env!("CARGO_BIN_EXE_sealvec"))
        .env("DISK", at("disk"))
        .env("KEY", at("index.key"))
        .env("VECTORS", at("rows.npy"))
        .env("ITEMS", at("items.jsonl"))
        .output()
        .unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let stdout = String::from_utf8(stdout).unwrap();
    let mut parts = stdout.split("--\n");
    let (writes, reads, after) =
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let (before, writes) = writes.split_once('\n').unwrap();
    assert_eq!(writes.lines().count(), 8);
    for line in writes.lines() {
        assert!(line.starts_with("1 error: "), "{line}");
        assert!(line.contains("Read-only file system"), "{line}");
    }
    assert_eq!(reads, "0 \n".repeat(7));
    let after: Vec<&str> = after.lines().collect();
    // The state and its token, while it could only be read and when it can be written to again.
    assert_eq!(after[..2], [before; 2]);
    assert_eq!(after[2..], ["0 ", "0 ", "2"]);
}

/// Runs a command as root of a namespace with mounts of its own.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount"]);
    command
}

const TEST: &str = "read_only_disk::a_lost_permission_stops_writing_and_loses_nothing";
const CHILD: &str = "SEALVEC_TEST_PERMISSION";
/// Somebody who is not root.
const NOBODY: u32 = 65534;

fn set_rights(path: &Path, directory: u32, file: u32) {
    // Out of a directory first, into it last.
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    if directory & 0o200 != 0 {
        set(path, directory);
    }
    for entry in fs::read_dir(path).unwrap() {
        set(&entry.unwrap().path(), file);
    }
    set(path, directory);
}

type Write = fn(&Index<'_>) -> Result<()>;

/// Everything that writes.
const WRITES: [(&str, Write); 9] = [
    ("upsert", |index| index.upsert(&[item(50)]).map(drop)),
    ("update", |index| index.update("1", Update::new().contents("x")).map(drop)),
    ("delete", |index| index.delete(&["2"]).map(drop)),
    ("write_batch", |index| {
        index.write_batch(&[item(51)], &["3"], &sealvec::WriteOptions::new()).map(drop)
    }),
    ("bulk_upsert", |index| index.bulk_upsert([item(52)], |_| ControlFlow::Continue(())).map(drop)),
    ("optimize", |index| index.optimize(|_| ControlFlow::Continue(())).map(drop)),
    ("purge", |index| index.purge(PurgeScope::Records, PurgeOptions::new()).map(drop)),
    ("grant", |index| index.grant(user_id(2), &user_key(2), Permissions::READ).map(drop)),
    ("revoke", |index| index.revoke(user_id(1)).map(drop)),
];

/// Small nodes, so that there is something to optimize.
fn options() -> Options {
    let mut tuning = Tuning::new();
    (tuning.leaf_items, tuning.fan_out) = (8, 4);
    small().tuning(tuning)
}

fn item(number: u8) -> Item {
    Item::new(number.to_string(), [f32::from(number)]).contents("text")
}

fn ids(index: &Index<'_>) -> Vec<String> {
    index.list_ids(100, None).unwrap().value.ids
}

fn child(path: &Path) {
    let db = Database::open(path, options()).unwrap();
    db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    index.upsert(&(0..30).map(item).collect::<Vec<_>>()).unwrap();
    index.grant(user_id(1), &user_key(1), Permissions::READ).unwrap();
    set_rights(path, 0o500, 0o400);
    assert!(fs::write(path.join("more"), "").is_err(), "this process may write all the same");

    // The log is open, and what goes into it is acknowledged and kept.
    index.upsert(&[item(30)]).unwrap();
    index.delete(&["0"]).unwrap();
    let (there, seen) = (ids(&index), index.describe().unwrap().version);
    // What needs a new file fails: a purge, and the commit that would begin a log. After the commit
    // that failed nothing is written.
    let purged = index.purge(PurgeScope::Records, PurgeOptions::new());
    refused(purged, "io", &["Permission denied"]);
    refused(index.upsert(&[item(49)]), "io", &["Permission denied"]);
    for (name, write) in WRITES {
        let error = write(&index).expect_err(name);
        assert_eq!(error.code(), "poisoned", "{name}: {error}");
    }
    refused(db.flush(), "poisoned", &[]);
    let reads = || {
        assert_eq!(ids(&index), there);
        assert_eq!(index.query(&[7.0]).top_k(1).run().unwrap()[0].id, "7");
        assert!(index.get(&["7"], Include::ALL).unwrap()[0].item.is_some());
        assert!(index.verify(|_| ControlFlow::Continue(())).unwrap().is_sound());
    };
    reads();
    drop(index);
    let _ = db.close();

    // Nobody can open it for writing, anybody who may read it for reading.
    refused(Database::open(path, small()).map(drop), "io", &["Permission denied"]);
    let db = Database::open_read_only(path, options()).unwrap();
    let index = db.load_index(NAME, root(ROOT).at_least(seen)).unwrap();
    assert_eq!((ids(&index), index.describe().unwrap().version), (there.clone(), seen));
    for (name, write) in WRITES {
        assert_eq!(write(&index).expect_err(name).code(), "read_only", "{name}");
    }
    drop((index, db));

    set_rights(path, 0o700, 0o600);
    let db = Database::open(path, options()).unwrap();
    let index = db.load_index(NAME, root(ROOT).at_least(seen)).unwrap();
    assert_eq!((ids(&index), index.describe().unwrap().version), (there, seen));
    for (name, write) in WRITES {
        write(&index).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(index.verify(|_| ControlFlow::Continue(())).unwrap().is_sound());
    println!("permission lost: {} writes refused", 2 * WRITES.len());
}

#[test]
fn a_lost_permission_stops_writing_and_loses_nothing() {
    if let Some(path) = std::env::var_os(CHILD) {
        return child(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    fs::create_dir(&path).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([TEST, "--exact", "--nocapture", "--test-threads", "1"]).env(CHILD, &path);
    command.current_dir(directory.path());
    if fs::metadata("/proc/self").map_or(0, |this| this.uid()) == 0 {
        // Root may do everything, so it has to be somebody else.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let Ok(Output { status, stdout, stderr }) = command.output() else {
        println!("skipped: this system lets nobody else run the test");
        return;
    };
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{out}{err}");
    assert!(out.contains("writes refused"), "{out}{err}");
    print!("{}", out.lines().find(|line| line.contains("writes refused")).unwrap());
}
