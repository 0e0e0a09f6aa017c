//! The options of `delete`.

use clap::{Args, ValueEnum};
use sealvec::IfMatch;

use super::Acting;
use super::select::Where;
use crate::help;
use crate::output::Format;

#[derive(Debug, Args)]
#[command(after_help = help::DELETE)]
pub(crate) struct Delete {
    /// The name of the index
    pub(crate) name: String,
    /// The ids
    #[arg(value_name = "ID", required_unless_present = "filter", conflicts_with = "filter")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) only: Where,
    /// Deletes only if the index is as it was under this ETag; * is any
    #[arg(long, value_name = "ETAG")]
    pub(crate) if_match: Option<IfMatch>,
    /// Says what would be deleted, and deletes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// What an id that is not there means
    #[arg(long, value_enum, default_value_t)]
    pub(crate) missing: Absent,
    /// Deletes at most so many, the first of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// A W3C traceparent whose trace id the commit keeps; one that is malformed fails nothing
    #[arg(long, value_name = "HEADER", allow_hyphen_values = true)]
    pub(crate) traceparent: Option<String>,
    /// How the report is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Absent {
    /// It is counted
    #[default]
    Ignore,
    /// Nothing is deleted
    Error,
}
