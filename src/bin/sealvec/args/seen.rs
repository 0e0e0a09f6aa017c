//! What the caller has seen of the index: `--min-version`, with every command that opens one.

use clap::Args;
use sealvec::VersionToken;

#[derive(Debug, Args)]
#[command(next_help_heading = "Database and key")]
pub(crate) struct Seen {
    /// Fails unless the index has this commit in its history: the version token of an earlier answer
    #[arg(long, value_name = "TOKEN", global = true)]
    pub(crate) min_version: Option<VersionToken>,
}
