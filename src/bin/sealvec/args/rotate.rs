//! The commands that change the keys of an index.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;

use crate::help;
use crate::output::Format;

#[derive(Debug, Args)]
#[command(after_help = help::ROTATE_INDEX_KEY)]
pub(crate) struct RotateIndexKey {
    /// The name of the index
    pub(crate) name: String,
    /// The file that holds the new index key
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: PathBuf,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
#[command(after_help = help::ROTATE_DATA_KEYS)]
pub(crate) struct RotateDataKeys {
    /// The name of the index
    pub(crate) name: String,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
#[command(after_help = help::REENCRYPT)]
pub(crate) struct Reencrypt {
    /// The name of the index
    pub(crate) name: String,
    /// Seals at most so many items a second again; as many as it can if left out
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
    /// How the report is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}
