//! The commands that change the keys of an index: the library's, with a bar for the long one.
//!
//! What an interrupt leaves: of a rotation, the old keys or the new ones; of a re-encryption, what is
//! sealed again. Running that again goes on with the rest.

use std::num::NonZeroU32;
use std::ops::ControlFlow;

use sealvec::{Database, ReencryptOptions};

use crate::args::{Reencrypt, RotateDataKeys, RotateIndexKey};
use crate::failure::{Failure, Result};
use crate::import::progress;
use crate::keys;
use crate::output::{Format, Object, print_line};
use crate::session::{Caller, Writing};

pub(crate) fn index_key(caller: &Caller, args: &RotateIndexKey) -> Result<()> {
    not_a_user(caller, "rotate-index-key")?;
    let (directory, old) = (caller.directory()?, caller.key()?);
    let new = keys::index_key(&args.new_key_file)?;
    let db = Database::open(directory, caller.options().create(false))?;
    let version = db.rotate_index_key(&args.name, &old, &new)?;
    db.close()?;
    answer(args.output, "the index has its new key", &version.to_string())
}

pub(crate) fn data_keys(caller: &Caller, args: &RotateDataKeys) -> Result<()> {
    not_a_user(caller, "rotate-data-keys")?;
    let (directory, root) = (caller.directory()?, caller.key()?);
    let db = Database::open(directory, caller.options().create(false))?;
    let version = db.rotate_data_keys(&args.name, &root)?;
    db.close()?;
    let done = "new data is under a new data key; reencrypt does the rest";
    answer(args.output, done, &version.to_string())
}

pub(crate) fn reencrypt(caller: &Caller, args: &Reencrypt) -> Result<()> {
    not_a_user(caller, "reencrypt")?;
    let Writing { db, index } = caller.writing(&args.name)?;
    let options = ReencryptOptions::new().rate(args.rate.map_or(0, NonZeroU32::get));
    let bar = progress("re-encrypting", 0);
    let report = index.reencrypt(options, |progress| {
        bar.set_length(progress.item_count);
        bar.set_position(progress.items);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    db.close()?;
    print_line(&match args.output {
        Format::Json => Object::new()
            .field("items", report.items)
            .field("retired", report.retired)
            .text("version_token", &report.version.to_string())
            .end(),
        Format::Table => format!(
            "sealed {} items again; {} data keys are out of use",
            report.items, report.retired
        ),
    })
}

/// Only the holder of the index key can do this, who has no user id.
fn not_a_user(caller: &Caller, command: &str) -> Result<()> {
    match caller.user {
        None => Ok(()),
        Some(_) => {
            Err(Failure::Usage(format!("{command} takes the index key; leave out --user-id")))
        }
    }
}

fn answer(format: Format, done: &str, version: &str) -> Result<()> {
    print_line(&match format {
        Format::Json => Object::new().text("version_token", version).end(),
        Format::Table => done.into(),
    })
}
