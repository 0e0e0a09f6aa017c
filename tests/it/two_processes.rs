//! Two real processes and one database: one writes, and nobody else does until it is gone.
//!
//! The writer is this binary once more. It makes a commit for each line that it is sent, and says
//! the version token that it was told. Beside it the program is refused whatever writes, and reads
//! what was there when it opened; a handle that is open already sees nothing newer. After
//! `kill -9` the lock is free at once, and everything that was acknowledged is there.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use sealvec::{Database, Error, IndexConfig, Item, Metric, VersionToken};

use crate::support::{NAME, ROOT, index_key, root, small, write_key};

const TEST: &str = "two_processes::one_process_writes_and_the_others_read";
const CHILD: &str = "SEALVEC_TEST_WRITER";

fn child(path: &Path) {
    let db = Database::open(path, small()).unwrap();
    let index = db.load_index(NAME, root(ROOT)).unwrap();
    eprintln!("open");
    for line in std::io::stdin().lines() {
        let id = line.unwrap();
        let report = index.upsert(&[Item::new(&*id, [1.0])]).unwrap();
        eprintln!("wrote {}", report.version);
    }
}

/// The process that writes.
struct Writer {
    process: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Writer {
    fn start(path: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([TEST, "--exact", "--nocapture", "--test-threads", "1"])
            .env(CHILD, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut writer = Self { process, lines };
        assert_eq!(writer.line(), "open");
        writer
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the writer is there").unwrap()
    }

    fn write(&mut self, id: &str) -> VersionToken {
        writeln!(self.process.stdin.as_mut().unwrap(), "{id}").unwrap();
        self.line().strip_prefix("wrote ").unwrap().parse().unwrap()
    }

    /// As `kill -9` does.
    fn kill(mut self) {
        self.process.kill().unwrap();
        assert!(!self.process.wait().unwrap().success());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every command of the program that writes.
const WRITES: [&str; 8] = [
    "create more --metric euclidean",
    "import index --vectors rows.npy",
    "delete index a",
    "optimize index",
    "purge index",
    "users grant index --user-id a11ce000000000000000000000000001 --user-key-file other.key \
     --permissions read",
    "users revoke index --user-id a11ce000000000000000000000000001",
    "drop index --yes",
];

#[test]
fn one_process_writes_and_the_others_read() {
    if let Some(path) = std::env::var_os(CHILD) {
        return child(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes);
    write_key(&directory.path().join("index.key"), &"07".repeat(32));
    write_key(&directory.path().join("other.key"), &"09".repeat(32));
    let header =
        b"\x93NUMPY\x01\x00\x3c\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }\n";
    write("rows.npy", &[&header[..], &1.0_f32.to_le_bytes()].concat()).unwrap();
    let program = |line: &str| -> (i32, String, String) {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_sealvec"))
            .args(["--db", "db", "--key-file", "index.key"])
            .args(line.split_whitespace())
            .current_dir(directory.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    };
    let count = || program("count index").1.trim().parse::<u64>().unwrap();
    let db = Database::open(&path, small()).unwrap();
    db.create_index(NAME, &index_key(ROOT), IndexConfig::new(Metric::Euclidean)).unwrap();
    db.close().unwrap();

    let mut writer = Writer::start(&path);
    writer.write("a");
    for line in WRITES {
        let (code, out, err) = program(line);
        assert_eq!((code, out.as_str()), (5, ""), "{line}: {err}");
        assert_eq!(err.trim(), format!("error: {}", Error::Busy), "{line}");
    }
    assert_eq!(Database::open(&path, small()).map(drop), Err(Error::Busy));

    // Readers: one that stays, and the program, which opens anew each time.
    let open = || Database::open_read_only(&path, small()).unwrap();
    let stays = open();
    let early = stays.load_index(NAME, root(ROOT)).unwrap();
    assert_eq!((*early.count().unwrap(), count()), (1, 1));
    for (number, id) in ["b", "c", "d"].into_iter().enumerate() {
        let told = writer.write(id);
        let there = number as u64 + 2;
        assert_eq!((*early.count().unwrap(), count()), (1, there), "it does not follow");
        assert_eq!(early.at_least(told).count().unwrap_err(), Error::Stale, "and can say so");
        let (code, _, err) = program(&format!("count index --min-version {told}"));
        assert_eq!(code, 0, "{err}");
        let anew = open();
        let seen = anew.load_index(NAME, root(ROOT).at_least(told)).unwrap();
        assert_eq!(seen.describe().unwrap().version, told);
    }
    // Nobody who read has taken anything from the one who writes.
    let last = writer.write("e");

    writer.kill();
    let db = Database::open(&path, small()).expect("the lock is free");
    let index = db.load_index(NAME, root(ROOT).at_least(last)).unwrap();
    assert_eq!(index.list_ids(10, None).unwrap().ids, ["a", "b", "c", "d", "e"]);
    assert_eq!(index.describe().unwrap().version, last);
    drop(index);
    db.close().unwrap();
    for line in &WRITES[1..] {
        let (code, _, err) = program(line);
        assert_eq!(code, 0, "{line}: {err}");
    }
}
