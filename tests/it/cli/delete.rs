//! `sealvec delete`: conditions, dry runs, limits, and what it reports.

use serde_json::{Value, json};

use super::{ALICE, BOB, Cli, Run};

const FIELDS: [&str; 11] = [
    "condition_failed",
    "corrupt",
    "deleted",
    "dry_run",
    "etag",
    "item_count",
    "missing",
    "outcomes",
    "remaining",
    "total_size_bytes",
    "version_token",
];

fn outcomes(report: &Value) -> Vec<(&str, &str)> {
    let entries = report["outcomes"].as_array().unwrap();
    assert!(entries.iter().all(|entry| entry.as_object().unwrap().len() == 2));
    entries
        .iter()
        .map(|entry| (entry["id"].as_str().unwrap(), entry["outcome"].as_str().unwrap()))
        .collect()
}

/// It failed with this code, and the index is as it was.
#[track_caller]
fn refused(cli: &Cli, run: impl FnOnce() -> Run, code: i32) -> String {
    let before = cli.state();
    let said = run().fails(code);
    assert_eq!(cli.state(), before);
    said
}

#[test]
fn delete_reports_what_it_did_and_left() {
    let cli = Cli::with_notes();
    let report = cli.owner("delete notes a nope b a --output json").json();
    let (count, etag) = cli.state();
    let fields: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, FIELDS);
    assert_eq!((&report["deleted"], &report["missing"]), (&json!(2), &json!(1)));
    for nothing in ["corrupt", "condition_failed", "remaining"] {
        assert_eq!(report[nothing], 0);
    }
    assert_eq!(report["dry_run"], false);
    assert_eq!(outcomes(&report), [("a", "deleted"), ("nope", "missing"), ("b", "deleted")]);
    assert_eq!((&report["item_count"], &report["etag"]), (&json!(count), &json!(etag)));
    assert_eq!(count, 1);
    // One id byte and a vector of two f32.
    assert_eq!(report["total_size_bytes"], 9);
    let again = cli.owner("delete notes a --output json").json();
    assert_eq!((&again["deleted"], &again["etag"]), (&json!(0), &json!(etag)));
    let text = cli.owner("delete notes c nope").ok();
    assert!(
        text.contains("deleted           1\n") && text.contains("missing           1\n"),
        "{text}"
    );
    assert!(text.contains("items             0\n"), "{text}");
}

#[test]
fn the_report_is_one_line_with_its_fields_in_order() {
    let cli = Cli::with_notes();
    let line = cli.owner("delete notes b --dry-run --output json").ok();
    let start = r#"{"deleted":1,"corrupt":0,"missing":0,"condition_failed":0,"remaining":0,"dry_run":true,"item_count":2,"total_size_bytes":"#;
    assert!(line.starts_with(start), "{line}");
    assert!(line.ends_with("\"outcomes\":[{\"id\":\"b\",\"outcome\":\"deleted\"}]}\n"), "{line}");
}

#[test]
fn an_etag_is_demanded_and_never_ignored() {
    let cli = Cli::with_notes();
    let (_, etag) = cli.state();
    let stats = cli.owner("stats notes").ok();
    assert!(stats.contains(&etag), "{stats}");
    let stale = "0".repeat(64);
    let said = refused(&cli, || cli.owner(&format!("delete notes a --if-match {stale}")), 5);
    assert!(said.contains("ETag"), "{said}");
    for bad in ["", "ab", "**", "W/x", &etag[1..], &format!("{etag}0")] {
        refused(&cli, || cli.owner(&format!("delete notes a --if-match={bad}")), 2);
    }
    let deleted = cli.owner(&format!("delete notes a --if-match {etag} --output json")).json();
    assert_eq!(deleted["deleted"], 1);
    // The same call again is of a state that is no more; so it is if there is nothing to delete.
    refused(&cli, || cli.owner(&format!("delete notes b --if-match {etag}")), 5);
    refused(&cli, || cli.owner(&format!("delete notes a --if-match {etag}")), 5);
    let now = deleted["etag"].as_str().unwrap();
    cli.owner(&format!("delete notes b --if-match \"{now}\"")).ok();
    cli.owner("delete notes c --if-match *").ok();
    assert_eq!(cli.state().0, 0);
}

#[test]
fn what_is_missing_is_counted_or_an_error() {
    let cli = Cli::with_notes();
    let said = refused(&cli, || cli.owner("delete notes a nope --missing error"), 4);
    assert!(!said.contains("nope"), "{said}");
    refused(&cli, || cli.owner("delete notes a --missing perhaps"), 2);
    let report = cli.owner("delete notes a nope --missing ignore --output json").json();
    assert_eq!((&report["deleted"], &report["missing"]), (&json!(1), &json!(1)));
    assert_eq!(cli.owner("delete notes b --missing error --output json").json()["deleted"], 1);
}

#[test]
fn a_dry_run_says_what_the_run_would_and_leaves_everything() {
    let cli = Cli::with_notes();
    let before = cli.state();
    let dry = cli.owner("delete notes c a nope --limit 1 --dry-run --output json").json();
    assert_eq!(cli.state(), before);
    assert_eq!(dry["etag"].as_str().unwrap(), before.1);
    assert!(cli.owner("delete notes c --dry-run").ok().starts_with("would delete"));
    let real = cli.owner("delete notes c a nope --limit 1 --output json").json();
    for field in FIELDS {
        let same = !["dry_run", "etag", "version_token"].contains(&field);
        assert_eq!(dry[field] == real[field], same, "{field}");
    }
    assert_eq!(outcomes(&real), [("c", "deleted"), ("a", "remaining"), ("nope", "missing")]);
    assert_eq!((&real["deleted"], &real["remaining"]), (&json!(1), &json!(1)));
    refused(&cli, || cli.owner("delete notes a --limit 0"), 2);
}

#[test]
fn a_bad_traceparent_fails_nothing() {
    let cli = Cli::with_notes();
    let good = "00-80e1afed08e019fc1110464cfa66635c-7a085853722dc6d2-01";
    for (id, header) in [("a", good), ("b", "garbage"), ("c", "-")] {
        let line = format!("delete notes {id} --traceparent {header} --output json");
        assert_eq!(cli.owner(&line).json()["deleted"], 1, "{header}");
    }
    let lines = cli.owner("history notes --limit 3 --output json").lines();
    let traces: Vec<&Value> = lines.iter().take(3).map(|commit| &commit["trace"]).collect();
    // The newest first: malformed, malformed, and the trace id of the good one.
    assert_eq!(traces, ["malformed", "malformed", "80e1afed08e019fc1110464cfa66635c"]);
}

#[test]
fn who_may_only_write_deletes_and_learns_of_nothing_that_stays() {
    let cli = Cli::with_notes();
    for (id, rights) in [(ALICE, "read"), (BOB, "write")] {
        cli.run(&format!("keygen --out {id}.key")).ok();
        let user = format!("--user-id {id} --user-key-file {id}.key --permissions {rights}");
        cli.owner(&format!("users grant notes {user}")).ok();
    }
    let user = |id: &str, line: &str| cli.user(id, &format!("{id}.key"), line);
    let (there, not) =
        (refused(&cli, || user(ALICE, "delete notes a"), 3), user(ALICE, "delete notes nope"));
    assert_eq!(not.fails(3), there);
    refused(&cli, || user(BOB, "delete notes a --dry-run"), 3);
    refused(&cli, || user(BOB, "delete notes a --limit 1"), 3);
    let report = user(BOB, "delete notes a nope --output json").json();
    assert_eq!((&report["deleted"], &report["missing"]), (&json!(1), &json!(1)));
    assert_eq!(report["outcomes"], json!([]));
}
