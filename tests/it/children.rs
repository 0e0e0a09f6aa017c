//! Processes that are killed in the middle of something.
//!
//! Such a process is this binary once more, with one test to run and a task in its environment. The
//! test asks for its [`task`] first: if there is one, it is the child, does it and returns; if not,
//! it is the parent. A child [says](say) what it is about to do and what it has done, a line at a
//! time; the parent reads along, and after some line and some time more it kills the child as
//! `kill -9` does.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const TASK: &str = "SEALVEC_TEST_TASK";
const KILL: i32 = 9;

/// What this process was started for, if it is a child.
pub(crate) fn task() -> Option<String> {
    std::env::var(TASK).ok()
}

/// Tells the parent a line, in one write, so that it is there whole or not at all.
pub(crate) fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// When a child is killed: so long after so many lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) lines: usize,
    pub(crate) then: Duration,
}

/// What a child said, and whether it was killed or came to its end before.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) said: Vec<String>,
    pub(crate) killed: bool,
}

/// Runs a test of this binary, by its whole name, as a child.
pub(crate) fn run(test: &str, task: &str, kill: Option<Moment>) -> Ended {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env(TASK, task)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said = Vec::new();
    if let Some(Moment { lines: count, then }) = kill {
        said.extend(lines.by_ref().take(count));
        sleep(then);
        child.kill().unwrap();
    }
    said.extend(lines);
    let status = child.wait().unwrap();
    let killed = kill.is_some() && status.signal() == Some(KILL);
    assert!(status.success() || killed, "{status}: {said:#?}");
    Ended { said, killed }
}
