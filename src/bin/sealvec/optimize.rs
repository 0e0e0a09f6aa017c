//! Optimize: the library's, with a bar.
//!
//! What an interrupt leaves: the branches that are done. Running it again goes on with the others.

use std::ops::ControlFlow;

use crate::args::Optimize;
use crate::failure::Result;
use crate::import::progress;
use crate::output::{Format, Object, print_line};
use crate::session::{Caller, Writing};

pub(crate) fn run(caller: &Caller, args: &Optimize) -> Result<()> {
    let Writing { db, index } = caller.writing(&args.name)?;
    let bar = progress("optimizing", 0);
    let report = index.optimize(|progress| {
        bar.set_length(progress.done + progress.remaining);
        bar.set_position(progress.done);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    db.close()?;
    print_line(&match args.output {
        Format::Json => Object::new()
            .field("rebuilt", report.rebuilt)
            .text("version_token", &report.version.to_string())
            .end(),
        Format::Table => format!("rebuilt {} branches of the tree", report.rebuilt),
    })
}
