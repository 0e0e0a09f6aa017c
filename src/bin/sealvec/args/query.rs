//! The options of `query` and `list`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sealvec::{Cursor, Order};

use super::Acting;
use super::select::{Where, order};
use crate::help;
use crate::output::Format;

#[derive(Debug, Args)]
#[command(after_help = help::QUERY)]
#[command(group = clap::ArgGroup::new("wanted").required(true).args(["vectors", "like"]))]
pub(crate) struct Query {
    /// The name of the index
    pub(crate) name: String,
    /// The query vectors, one a row
    #[arg(long, value_name = "Q.npy")]
    pub(crate) vectors: Option<PathBuf>,
    /// Looks for items like this one, which is among the hits itself
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) like: Option<String>,
    /// How many hits a query
    #[arg(long, value_name = "K", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top_k: u32,
    /// How hard to look: twice the effort reads about twice as much
    #[arg(long, value_name = "N", default_value_t = sealvec::DEFAULT_EFFORT,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) effort: u32,
    /// Compares every vector: nothing is missed
    #[arg(long, conflicts_with = "effort")]
    pub(crate) exact: bool,
    #[command(flatten)]
    pub(crate) only: Where,
    /// What to show with each hit
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) include: Vec<Field>,
    /// How the hits are written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: HitFormat,
    /// Writes to a file, which must not exist, instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Field {
    /// What was stored with the vector
    Contents,
    /// The JSON object stored with the vector
    Metadata,
    /// The vector itself
    Vector,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum HitFormat {
    /// Text for people
    #[default]
    #[value(alias = "text")]
    Table,
    /// One line of JSON a query
    Json,
    /// An npy file of ids
    IdsNpy,
}

#[derive(Debug, Args)]
#[command(after_help = help::LIST)]
pub(crate) struct List {
    /// The name of the index
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) only: Where,
    /// Puts the ids in the order of a field of the metadata, not their own
    #[arg(long, value_name = "FIELD[:desc]", value_parser = order)]
    pub(crate) order_by: Option<(String, Order)>,
    /// How many ids; all if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Where to go on: the cursor that came with the last page
    #[arg(long, value_name = "HEX")]
    pub(crate) cursor: Option<Cursor>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}
