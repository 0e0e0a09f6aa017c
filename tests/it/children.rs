//! Processes that are killed in the middle of something.
//!
//! Such a process is this binary once more, with one test to run and a [`Task`] in its environment.
//! The test asks for its task first: if there is one, it is the child, does it and returns; if not,
//! it is the parent. A child [says](say) what it is about to do or has done, a line at a time; the
//! parent reads along, and at some [`Moment`] it kills the child as `kill -9` does.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sealvec::Durability;

use crate::tree::Random;

const TASK: &str = "SEALVEC_TEST_TASK";
const KILL: i32 = 9;

/// What a child is to do: work on this database, with this durability, by this seed.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) path: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) seed: u64,
}

impl Task {
    /// That of this process, if it is a child.
    pub(crate) fn given() -> Option<Self> {
        let task = std::env::var(TASK).ok()?;
        let fields: Vec<&str> = task.splitn(3, ' ').collect();
        let [durability, seed, path] = fields[..] else { panic!("{task}") };
        let durability = match durability {
            "synced" => Durability::Synced,
            _ => Durability::Buffered,
        };
        Some(Self { path: path.into(), durability, seed: seed.parse().unwrap() })
    }

    /// Has it done by a test of this binary, named in full, in a process of its own.
    pub(crate) fn run(&self, test: &str, kill: Option<Moment>) -> Ended {
        let Self { path, durability, seed } = self;
        let durability = if *durability == Durability::Synced { "synced" } else { "buffered" };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads", "1"])
            .env(TASK, format!("{durability} {seed} {}", path.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut said = Vec::new();
        if let Some(moment) = kill {
            said.extend(lines.by_ref().take(moment.lines));
            moment.wait(path);
            child.kill().unwrap();
        }
        said.extend(lines);
        let status = child.wait().unwrap();
        let killed = kill.is_some() && status.signal() == Some(KILL);
        assert!(status.success() || killed, "{status}: {said:#?}");
        Ended { said, killed }
    }
}

/// Tells the parent a line, in one write, so that it is there whole or not at all.
pub(crate) fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// What a child said, and whether it was killed or came to its end before.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) said: Vec<String>,
    pub(crate) killed: bool,
}

/// When a child is killed: after so many lines, and then so much later or, if no time is given, in
/// the middle of the next commit: as soon as the log of the database grows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    lines: usize,
    then: Option<Duration>,
}

impl Moment {
    /// After less than so many lines; after none, some time of the start, else as long as so many
    /// microseconds later.
    pub(crate) fn random(random: &mut Random, lines: usize, micros: usize) -> Self {
        let lines = random.below(lines);
        let most = if lines == 0 { 40_000 } else { micros };
        let later = Duration::from_micros(random.below(most) as u64);
        Self { lines, then: (random.below(2) == 0).then_some(later) }
    }

    /// Waits for it, after the lines.
    fn wait(self, path: &Path) {
        if let Some(then) = self.then {
            return sleep(then);
        }
        let before = log_bytes(path);
        let start = Instant::now();
        // The child may be done.
        while log_bytes(path) == before && start.elapsed() < Duration::from_millis(200) {
            sleep(Duration::from_micros(20));
        }
    }
}

/// What the logs of the database hold, if it is there.
fn log_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let logs = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
    logs.filter_map(|log| log.metadata().ok()).map(|log| log.len()).sum()
}
