//! A full disk: a clear error, whole commits only, and what was there can still be read.
//!
//! The disk is a small tmpfs in a mount namespace of its own. Where the system allows no such
//! namespace the test says so and passes.

use std::path::Path;
use std::process::{Command, Output};

const SCRIPT: &str = r#"
set -eu
mkdir -p "$DISK"
mount -t tmpfs -o size=60m tmpfs "$DISK"
run() { "$SEALVEC" --db "$DISK/db" --key-file "$KEY" "$@"; }
run create notes --dimension 384 --metric cosine >&2
import() { run import notes --vectors "$DATA/wordnet-5k.f16.npy" "$@"; }
import --items "$DATA/wordnet-5k.items.jsonl" >&2
status=0
i=0
while [ $status = 0 ] && [ $i -lt 9 ]; do
    i=$((i + 1))
    seq "${i}00000" "${i}04999" | sed 's/.*/{"id":"&"}/' >"$ITEMS"
    import --items "$ITEMS" >&2 2>"$ERRORS" || status=$?
done
echo "import $status"
run stats notes --output json
run list notes | wc -l
run query notes --vectors "$DATA/wordnet-queries-50.f16.npy" --top-k 1 --output json | wc -l
"#;

#[test]
fn a_full_disk_is_named_and_leaves_whole_commits() {
    let directory = tempfile::tempdir().unwrap();
    if !namespace_allowed() {
        println!("skipped: this system allows no mount namespace");
        return;
    }
    let key = directory.path().join("index.key");
    crate::support::write_key(&key, &"07".repeat(32));
    let errors = directory.path().join("errors");
    let Output { status, stdout, stderr } = unshare()
        .args(["sh", "-c", SCRIPT])
        .env("SEALVEC", env!("CARGO_BIN_EXE_sealvec"))
        .env("DISK", directory.path().join("disk"))
        .env("DATA", Path::new(env!("CARGO_MANIFEST_DIR")).join("data"))
        .env("KEY", &key)
        .env("ITEMS", directory.path().join("items"))
        .env("ERRORS", &errors)
        .output()
        .unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    assert_eq!(
        std::fs::read_to_string(errors).unwrap().trim(),
        "error: no space left on the device; free some, open the database again and try again"
    );
    let stdout = String::from_utf8(stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().map(str::trim).collect();
    let [import, stats, listed, queried] = lines[..] else { panic!("{stdout}") };
    assert_eq!(import, "import 1");
    let stats: serde_json::Value = serde_json::from_str(stats).unwrap();
    let count = stats["item_count"].as_u64().unwrap();
    // 5,000 items fit into one commit.
    assert!(count.is_multiple_of(5000) && (5000..50_000).contains(&count), "{count}");
    assert_eq!(listed.parse(), Ok(count));
    assert_eq!(queried, "50");
}

/// Runs a command as root of a namespace with mounts of its own.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount"]);
    command
}

fn namespace_allowed() -> bool {
    let directory = tempfile::tempdir().unwrap();
    let probe = unshare().args(["mount", "-t", "tmpfs", "tmpfs"]).arg(directory.path()).output();
    probe.is_ok_and(|probe| probe.status.success())
}
