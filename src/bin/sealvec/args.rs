//! The command line: every command and option, and the help that explains them.
//!
//! `--user-id` says who is calling, so it may stand before any command and after those that users
//! run. After `users grant` and `users revoke` it names the user in question instead: these two are
//! for the holder of the index key, who has no user id.

mod delete;
mod query;
mod rotate;
mod seen;
mod select;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use sealvec::{Metric, Permissions, Precision, UserId};

pub(crate) use delete::{Absent, Delete};
pub(crate) use query::{Field, HitFormat, List, Query};
pub(crate) use rotate::{Reencrypt, RotateDataKeys, RotateIndexKey};
pub(crate) use seen::Seen;
use select::AttributeArgs;
pub(crate) use select::Count;

use crate::help;
use crate::output::Format;
use crate::purge::Purge;

/// Encrypted vector indexes: every command needs a key
#[derive(Debug, Parser)]
#[command(name = "sealvec", version, after_help = help::PROGRAM)]
pub(crate) struct Program {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(flatten)]
    pub(crate) acting: Acting,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Database and key")]
pub(crate) struct Global {
    /// The directory of the database
    #[arg(long, value_name = "DIR", env = "SEALVEC_DB", global = true)]
    pub(crate) db: Option<PathBuf>,
    /// Reads the key from a file
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) key_file: Option<PathBuf>,
    /// Reads the key from an open file descriptor (a file or a pipe; 0 is stdin)
    #[arg(long, value_name = "N", global = true)]
    pub(crate) key_fd: Option<u32>,
    /// Reads the key from the environment variable of this name
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) key_env: Option<String>,
    /// Threads for queries and imports; 0, the default, is one for each core
    #[arg(long, value_name = "N", global = true)]
    pub(crate) threads: Option<usize>,
    /// Memory for cached (encrypted) blocks, such as 256M
    #[arg(long, value_name = "SIZE", value_parser = size, global = true)]
    pub(crate) block_cache: Option<usize>,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Database and key")]
pub(crate) struct Acting {
    /// Acts as this user, whose key the key is: 32 hexadecimal digits
    #[arg(long, value_name = "HEX32")]
    pub(crate) user_id: Option<UserId>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a new key, for an index or for a user
    Keygen(Keygen),
    /// Makes an index, and the database if there is none
    Create(Create),
    /// Stores vectors and items from files
    Import(Import),
    /// Writes all vectors and items to new files, decrypted
    Export(Export),
    /// Finds the nearest items
    Query(Query),
    /// Shows items by id
    Get(Items),
    /// Deletes items by id, all in one step
    Delete(Delete),
    /// Lists the ids, sorted
    List(List),
    /// Counts the items
    Count(Count),
    /// Shows what an index is and how much it holds
    Stats(Stats),
    /// Checks everything that is stored of an index
    Verify(Verify),
    /// Shows who changed how much, and when; no ids, no contents
    History(History),
    /// Rebuilds the search tree of an index, part by part
    Optimize(Optimize),
    /// Removes from the files what was deleted or overwritten in an index
    Purge(Purge),
    /// Lists the indexes that the key opens
    Indexes(Indexes),
    /// Grants and revokes the rights of users; needs the index key
    #[command(subcommand)]
    Users(Users),
    /// Puts an index under another index key; needs the one it has
    RotateIndexKey(RotateIndexKey),
    /// Gives an index another data key for what is written from now on; needs the index key
    RotateDataKeys(RotateDataKeys),
    /// Encrypts everything that is under older data keys again; needs the index key
    Reencrypt(Reencrypt),
    /// Deletes an index with everything in it; needs the index key
    Drop(Drop),
    /// Measures an index of your vectors: recall, speed, size; needs no key
    Bench(Bench),
}

impl Command {
    /// Who acts, if it was said after the command.
    pub(crate) const fn acting(&self) -> Option<UserId> {
        match self {
            Self::Import(args) => args.acting.user_id,
            Self::Export(args) => args.acting.user_id,
            Self::Query(args) => args.acting.user_id,
            Self::Get(args) => args.acting.user_id,
            Self::Delete(args) => args.acting.user_id,
            Self::List(args) => args.acting.user_id,
            Self::Count(args) => args.acting.user_id,
            Self::Stats(args) => args.acting.user_id,
            Self::Verify(args) => args.acting.user_id,
            Self::History(args) => args.acting.user_id,
            Self::Optimize(args) => args.acting.user_id,
            Self::Purge(args) => args.acting.user_id,
            Self::Indexes(args) => args.acting.user_id,
            Self::Keygen(_)
            | Self::Create(_)
            | Self::Users(_)
            | Self::RotateIndexKey(_)
            | Self::RotateDataKeys(_)
            | Self::Reencrypt(_)
            | Self::Drop(_)
            | Self::Bench(_) => None,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = help::KEYGEN)]
pub(crate) struct Keygen {
    /// The file to make: 64 hexadecimal digits, readable by its owner only. Never overwritten
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = help::CREATE)]
pub(crate) struct Create {
    /// The name of the index
    pub(crate) name: String,
    /// Components per vector; taken from the first vector if left out
    #[arg(long, value_name = "N")]
    pub(crate) dimension: Option<usize>,
    /// The distance
    #[arg(long, value_parser = metrics())]
    pub(crate) metric: Metric,
    /// How components are stored; f16 takes half the space and rounds
    #[arg(long, default_value = "f32", value_parser = precisions())]
    pub(crate) precision: Precision,
    #[command(flatten)]
    pub(crate) attributes: AttributeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = help::IMPORT)]
pub(crate) struct Import {
    /// The name of the index
    pub(crate) name: String,
    /// The vectors, one a row
    #[arg(long, value_name = "X.npy")]
    pub(crate) vectors: PathBuf,
    /// The items, one a line; without it the ids are row numbers from 0
    #[arg(long, value_name = "Y.jsonl")]
    pub(crate) items: Option<PathBuf>,
    /// Replaces items whose id is there already, instead of skipping them
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Waits for the disk once at the end, not at every commit
    #[arg(long)]
    pub(crate) buffered: bool,
    /// How the report is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Args)]
#[command(after_help = help::EXPORT)]
pub(crate) struct Export {
    /// The name of the index
    pub(crate) name: String,
    /// The file for the vectors, which must not exist
    #[arg(long, value_name = "OUT.npy")]
    pub(crate) vectors: PathBuf,
    /// The file for ids, contents and metadata, which must not exist
    #[arg(long, value_name = "OUT.jsonl")]
    pub(crate) items: PathBuf,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Args)]
#[command(after_help = help::ITEMS)]
pub(crate) struct Items {
    /// The name of the index
    pub(crate) name: String,
    /// The ids
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// The name of the index
    pub(crate) name: String,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Args)]
#[command(after_help = help::VERIFY)]
pub(crate) struct Verify {
    /// The name of the index
    pub(crate) name: String,
    /// How the report is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Args)]
#[command(after_help = help::HISTORY)]
pub(crate) struct History {
    /// The name of the index
    pub(crate) name: String,
    /// The oldest commit to show, by its number
    #[arg(long, value_name = "N")]
    pub(crate) from: Option<u64>,
    /// The newest commit to show
    #[arg(long, value_name = "N")]
    pub(crate) to: Option<u64>,
    /// How many commits; all if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Args)]
#[command(after_help = help::OPTIMIZE)]
pub(crate) struct Optimize {
    /// The name of the index
    pub(crate) name: String,
    /// How the report is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Args)]
pub(crate) struct Indexes {
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Users {
    /// Gives a user rights, in place of any it had
    Grant(Grant),
    /// Takes every right from a user
    Revoke(Revoke),
    /// Lists the users and their rights
    List(UserList),
}

#[derive(Debug, Args)]
#[command(after_help = help::GRANT)]
pub(crate) struct Grant {
    /// The name of the index
    pub(crate) name: String,
    /// The user that gets the rights: 32 hexadecimal digits
    #[arg(long, value_name = "HEX32")]
    pub(crate) user_id: UserId,
    /// The file that holds the user's own key
    #[arg(long, value_name = "FILE")]
    pub(crate) user_key_file: PathBuf,
    /// read, write or read,write
    #[arg(long, value_name = "RIGHTS")]
    pub(crate) permissions: Permissions,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The name of the index
    pub(crate) name: String,
    /// The user that loses its rights: 32 hexadecimal digits
    #[arg(long, value_name = "HEX32")]
    pub(crate) user_id: UserId,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct UserList {
    /// The name of the index
    pub(crate) name: String,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Drop {
    /// The name of the index
    pub(crate) name: String,
    /// Confirms it
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::BENCH)]
#[command(group = clap::ArgGroup::new("asked").required(true).args(["queries", "holdout"]))]
pub(crate) struct Bench {
    /// The vectors, one a row
    #[arg(long, value_name = "X.npy")]
    pub(crate) vectors: PathBuf,
    /// The query vectors, one a row
    #[arg(long, value_name = "Q.npy")]
    pub(crate) queries: Option<PathBuf>,
    /// The nearest rows of each query, nearest first; found by a plain scan if left out
    #[arg(long, value_name = "T.npy", requires = "queries")]
    pub(crate) truth: Option<PathBuf>,
    /// Takes the last N rows of the vectors as queries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) holdout: Option<u32>,
    /// The distance
    #[arg(long, value_parser = metrics())]
    pub(crate) metric: Metric,
    /// How components are stored
    #[arg(long, default_value = "f32", value_parser = precisions())]
    pub(crate) precision: Precision,
    /// How many hits a query
    #[arg(long, value_name = "K", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top_k: u32,
    /// The efforts to search with; powers of two about the default if left out
    #[arg(long, value_name = "N,N", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) efforts: Vec<u32>,
    /// Searches again with this much memory for decrypted data, such as 256M
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "0")]
    pub(crate) cache: usize,
    /// A new directory for the database, which stays; else it is a temporary one
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// How many single upserts and deletes of each kind; 1000 if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) singles: Option<u32>,
    /// Few rounds of everything and at most 50 queries
    #[arg(long)]
    pub(crate) quick: bool,
    /// Writes one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

fn metrics() -> impl TypedValueParser<Value = Metric> {
    let names = [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct].map(Metric::as_str);
    PossibleValuesParser::new(names).try_map(|name| Metric::from_name(&name).ok_or("unknown"))
}

fn precisions() -> impl TypedValueParser<Value = Precision> {
    let names = [Precision::F32, Precision::F16].map(Precision::as_str);
    PossibleValuesParser::new(names).try_map(|name| Precision::from_name(&name).ok_or("unknown"))
}

/// A number of bytes, perhaps with K, M or G after it.
fn size(text: &str) -> Result<usize, &'static str> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (text.get(..text.len() - 1), 10),
        Some(b'M' | b'm') => (text.get(..text.len() - 1), 20),
        Some(b'G' | b'g') => (text.get(..text.len() - 1), 30),
        _ => (Some(text), 0),
    };
    let number = digits.and_then(|digits| digits.parse::<usize>().ok());
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or("a size is a number, perhaps with K, M or G after it")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    // Asks for debug assertions: under --release it checks nothing.
    #[test]
    fn the_command_line_is_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("17", 17), ("2k", 2048), ("256M", 256 << 20)] {
            assert_eq!(size(text), Ok(bytes));
        }
        for bad in ["", "M", "-1", "1.5G", "99999999999999999999", "99999999999G", "1T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
