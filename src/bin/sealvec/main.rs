//! The sealvec program: encrypted vector indexes from the command line.
//!
//! It uses the public API of the library and nothing else. One run is one command: it reads the
//! key, opens the database, does the command, prints the answer to stdout and ends with an exit code
//! that says what kind of failure it was, if it was one (`failure`). Keys come from a file, a file
//! descriptor or an environment variable, never from the command line, which other users can see.

mod args;
mod bench;
mod commands;
mod export;
mod failure;
#[cfg(test)]
mod fuzz;
mod help;
mod history;
mod import;
mod items;
mod jsonl;
mod keys;
mod new_file;
mod npy;
mod optimize;
mod output;
mod purge;
mod query;
mod rotate;
mod session;
mod users;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::Program;

fn main() -> ExitCode {
    let Err(failure) = commands::run(Program::parse()) else { return ExitCode::SUCCESS };
    if let Some(message) = failure.message() {
        // A closed stderr is no reason to end with another exit code.
        let _ = writeln!(io::stderr(), "error: {message}");
    }
    ExitCode::from(failure.exit_code())
}
