//! Purge: the library's, and its receipt.

use std::time::Duration;

use clap::Args;
use sealvec::{Answer, Checkpoint, PurgeOptions, PurgeScope};

use crate::args::Acting;
use crate::failure::Result;
use crate::help;
use crate::output::{Format, Object, array, print_line, print_pairs};
use crate::session::{Caller, Writing};

#[derive(Debug, Args)]
#[command(after_help = help::PURGE)]
pub(crate) struct Purge {
    /// The name of the index
    pub(crate) name: String,
    /// Rewrites the ciphertext of vectors, contents and metadata too
    #[arg(long)]
    pub(crate) payload: bool,
    /// How long to wait for others who still read what was deleted
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) deadline: u64,
    /// How the receipt is written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) acting: Acting,
}

pub(crate) fn run(caller: &Caller, args: &Purge) -> Result<()> {
    let Writing { db, index } = caller.writing(&args.name)?;
    let scope = if args.payload { PurgeScope::Payload } else { PurgeScope::Records };
    let options = PurgeOptions::new().deadline(Duration::from_secs(args.deadline));
    let Answer { value: receipt, version: token, .. } = index.purge(scope, options)?;
    db.close()?;
    let up_to = receipt.up_to.map_or_else(|| "null".to_owned(), |sequence| sequence.to_string());
    let took = receipt.took.as_millis();
    match args.output {
        Format::Json => print_line(
            &Object::new()
                .text("index", &receipt.index)
                .text("scope", receipt.scope.as_str())
                .field("up_to", up_to)
                .field("time", receipt.time)
                .field("took_ms", took)
                .field("files_removed", receipt.files_removed)
                .field("bytes_rewritten", receipt.bytes_rewritten)
                .field("payload_remains", receipt.payload_remains)
                .field("checkpoints", array(receipt.checkpoints.iter().map(checkpoint)))
                .text("statement", receipt.statement())
                .text("version_token", &token.to_string())
                .end(),
        ),
        Format::Table => {
            let mut pairs = vec![
                ("scope", receipt.scope.as_str().to_owned()),
                ("up to commit", up_to),
                ("took, in ms", took.to_string()),
                ("files removed", receipt.files_removed.to_string()),
                ("bytes rewritten", receipt.bytes_rewritten.to_string()),
            ];
            let copies = receipt.checkpoints.iter();
            pairs.extend(copies.map(|copy| ("checkpoint left", copy.path.display().to_string())));
            pairs.push(("statement", receipt.statement().to_owned()));
            print_pairs(&pairs)
        }
    }
}

fn checkpoint(copy: &Checkpoint) -> String {
    let path = copy.path.display().to_string();
    Object::new().text("path", &path).field("time", copy.time).end()
}
