//! Verify: the library's full check, as a report and an exit code.

use std::ops::ControlFlow;

use sealvec::VerifyReport;

use crate::args::Verify;
use crate::failure::{Failure, Result};
use crate::import::progress;
use crate::output::{Format, Object, array, print_line, print_pairs};
use crate::session::Caller;

pub(crate) fn run(caller: &Caller, args: &Verify) -> Result<()> {
    let index = caller.reading(&args.name)?;
    let bar = progress("verifying", 0);
    let answer = index.verify(|progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.items);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    let report = &answer.value;
    let version = answer.version.to_string();
    match args.output {
        Format::Json => print_line(&json(report, &version)),
        Format::Table => print_pairs(&pairs(report, version)),
    }?;
    if report.is_sound() {
        return Ok(());
    }
    let faults = report.faults.iter().map(|(fault, times)| format!("{times} x {fault}"));
    Err(Failure::Unsound(format!(
        "what is stored is not sound: {}",
        faults.collect::<Vec<_>>().join("; ")
    )))
}

fn json(report: &VerifyReport, version: &str) -> String {
    let faults = report.faults.iter().map(|(fault, times)| {
        Object::new().text("fault", fault.as_str()).field("count", times).end()
    });
    let findings = report.findings.iter().map(|finding| {
        let place = finding.place.map_or_else(|| "null".to_owned(), |place| place.to_string());
        Object::new().text("fault", finding.fault.as_str()).field("place", place).end()
    });
    let tree = &report.tree;
    Object::new()
        .field("sound", report.is_sound())
        .field("by_root", report.by_root)
        .field("faults", array(faults))
        .field("findings", array(findings))
        .field("items", report.items)
        .field("payload_values", report.payload_values)
        .field("height", tree.height)
        .field("leaves", tree.leaves)
        .field("branches", tree.branches)
        .field("spilled", tree.spilled)
        .field("oversized", tree.oversized)
        .field("attribute_blocks", tree.blocks)
        .field("commits", report.commits)
        .field("folded", report.folded)
        .field("tables", report.tables)
        .field("wraps", report.wraps)
        .field("roster_records", report.roster_records)
        .text("version_token", version)
        .end()
}

fn pairs(report: &VerifyReport, version: String) -> Vec<(&'static str, String)> {
    let tree = &report.tree;
    let scope = if report.by_root { "all" } else { "all but the wraps of others and the roster" };
    let mut pairs = vec![
        ("sound", if report.is_sound() { "yes" } else { "no" }.to_owned()),
        ("opened", scope.to_owned()),
    ];
    pairs
        .extend(report.faults.iter().map(|(fault, times)| ("fault", format!("{times} x {fault}"))));
    pairs.extend([
        ("items", report.items.to_string()),
        ("payload values", report.payload_values.to_string()),
        ("height", tree.height.to_string()),
        ("leaves", tree.leaves.to_string()),
        ("branches", tree.branches.to_string()),
        ("in two leaves", tree.spilled.to_string()),
        ("oversized", tree.oversized.to_string()),
        ("attribute blocks", tree.blocks.to_string()),
        ("commits", report.commits.to_string()),
        ("folded", report.folded.to_string()),
        ("grant tables", report.tables.to_string()),
        ("wraps", report.wraps.to_string()),
        ("roster records", report.roster_records.to_string()),
        ("version token", version),
    ]);
    pairs
}
