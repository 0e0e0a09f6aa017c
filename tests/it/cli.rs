//! The program, run as its users run it: every command, its answer, its exit code.
//!
//! Every test works in a fresh directory with a key in `index.key` and, where it needs one, an
//! index called `notes` in `db`.

mod access;
mod answers;
mod bench;
mod delete;
mod filters;
mod freshness;
mod import;
mod rotate;
mod secrecy;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const ALICE: &str = "a11ce000000000000000000000000001";
const BOB: &str = "b0b00000000000000000000000000002";

/// A directory to work in.
struct Cli {
    directory: TempDir,
}

/// A finished run.
struct Run {
    code: i32,
    out: Vec<u8>,
    err: String,
}

impl Cli {
    fn new() -> Self {
        let cli = Self { directory: tempfile::tempdir().unwrap() };
        cli.run("keygen --out index.key").ok();
        cli
    }

    /// With an index of three items: `a` with text and metadata, `b` with bytes, `c` with nothing.
    fn with_notes() -> Self {
        let cli = Self::new();
        cli.owner("create notes --metric euclidean").ok();
        cli.write("notes.npy", npy(&[&[1.0, 0.0], &[0.0, 2.5], &[-0.1, -4.0]]));
        let lines = [
            r#"{"id": "a", "contents": "text \u001b[31m\nmore", "metadata": {"n": [1, "x"]}}"#,
            r#"{"id": "b", "contents": {"base64": "/wA="}, "metadata": null}"#,
            r#"{"id": "c"}"#,
        ];
        cli.write("notes.jsonl", lines.join("\n"));
        cli.owner("import notes --vectors notes.npy --items notes.jsonl").ok();
        cli
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
        // As a key file has to be.
        #[cfg(unix)]
        {
            let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(self.path(name), owner_only).unwrap();
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealvec"));
        command.args(line.split_whitespace()).current_dir(self.directory.path());
        command.env_remove("SEALVEC_DB").stdin(Stdio::null());
        command
    }

    /// Runs the program; arguments are separated by spaces.
    fn run(&self, line: &str) -> Run {
        self.command(line).output().unwrap().into()
    }

    /// Runs it with the index key.
    fn owner(&self, line: &str) -> Run {
        self.run(&format!("--db db --key-file index.key {line}"))
    }

    /// Runs it with the key in a file, as a user.
    fn user(&self, id: &str, key: &str, line: &str) -> Run {
        self.run(&format!("--db db --user-id {id} --key-file {key} {line}"))
    }

    /// Item count and state of the items.
    fn state(&self) -> (u64, String) {
        let stats = self.owner("stats notes --output json").json();
        (stats["item_count"].as_u64().unwrap(), stats["etag"].as_str().unwrap().to_owned())
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: output.stdout,
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// It succeeded and warned of nothing: its answer.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""));
        String::from_utf8(self.out).unwrap()
    }

    /// It succeeded: its answer, a line at a time.
    #[track_caller]
    fn lines(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// It succeeded: its answer, one line.
    #[track_caller]
    fn json(self) -> Value {
        let lines = self.lines();
        assert_eq!(lines.len(), 1);
        lines[0].clone()
    }

    /// It failed with this code, answered nothing and said why.
    #[track_caller]
    fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.err);
        assert_eq!(self.out, b"");
        assert!(self.err.starts_with("error: "), "{}", self.err);
        assert!(self.err.is_ascii(), "{}", self.err);
        self.err
    }
}

/// A file of f32 vectors.
fn npy(rows: &[&[f32]]) -> Vec<u8> {
    let columns = rows.first().map_or(2, |row| row.len());
    let data: Vec<u8> =
        rows.iter().flat_map(|row| row.iter().flat_map(|x| x.to_le_bytes())).collect();
    npy_with("<f4", &format!("({}, {columns})", rows.len()), &data)
}

fn npy_with(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}
