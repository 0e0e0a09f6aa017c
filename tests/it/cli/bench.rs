//! The bench command: the shape of its report, what it leaves behind, and the input it refuses.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Cli, Run, npy, npy_with};

/// `count` vectors of 8 components, no two alike.
fn vectors(count: u16) -> Vec<u8> {
    let component = |row: u16, n: u16| (f32::from(row) * 0.37 + f32::from(n * n)).sin();
    let rows: Vec<Vec<f32>> =
        (0..count).map(|row| (0..8).map(|n| component(row, n)).collect()).collect();
    npy(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn numbers(rows: &[&[i32]]) -> Vec<u8> {
    let data: Vec<u8> =
        rows.iter().flat_map(|row| row.iter().flat_map(|x| x.to_le_bytes())).collect();
    npy_with("<i4", &format!("({}, {})", rows.len(), rows[0].len()), &data)
}

/// Runs it with temporary files in the test's own directory.
fn bench(cli: &Cli, line: &str) -> Run {
    let mut command = cli.command(&format!("bench {line}"));
    command.env("TMPDIR", cli.path(".")).output().unwrap().into()
}

#[track_caller]
fn positive(value: &Value) -> f64 {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(number > 0.0, "{number}");
    number
}

/// A sweep with these efforts.
#[track_caller]
fn check_sweep(sweep: &Value, efforts: &[u64]) {
    let rows = sweep.as_array().unwrap();
    let found: Vec<u64> = rows.iter().map(|row| row["effort"].as_u64().unwrap()).collect();
    assert_eq!(found, efforts);
    for row in rows {
        let default = row["effort"] == u64::from(sealvec::DEFAULT_EFFORT);
        assert_eq!(row["default"], default);
        assert!((0.0..=1.0).contains(&row["recall"].as_f64().unwrap()));
        for name in ["qps", "p50_us", "p95_us", "p99_us"] {
            positive(&row[name]);
        }
        assert!(row["p50_us"].as_f64() <= row["p95_us"].as_f64());
        for name in ["bytes_opened", "reads", "reranked", "rows", "nodes"] {
            assert!(row[name].is_f64(), "{name}");
        }
    }
}

#[test]
fn the_report_has_its_shape_and_nothing_is_left() {
    let cli = Cli::new();
    cli.write("v.npy", vectors(208));
    let line = "--vectors v.npy --holdout 8 --metric euclidean --top-k 5 --efforts 4,16 --quick";
    let report = bench(&cli, &format!("{line} --cache 1M --json")).json();
    assert!((positive(&report["exact_plain"]["recall"]) - 1.0).abs() < 1e-9);
    positive(&report["exact_plain"]["qps"]);
    check_sweep(&report["sweep"], &[4, 16]);
    check_sweep(&report["sweep_cached"], &[4, 16]);
    assert_eq!(report["import"]["items"], 200);
    assert_eq!(report["import"]["bulk"], true);
    for (part, names) in [
        ("import", &["seconds", "items_per_second"][..]),
        ("upsert", &["bytes_written_per_single_upsert", "bytes_written_over_upserts"]),
        ("stateless", &["open_query_us", "bound_query_us", "ratio"]),
        ("get", &["p50_us"]),
    ] {
        for name in names {
            positive(&report[part][name]);
        }
    }
    for (part, kind) in [("upsert", "synced"), ("upsert", "unsynced"), ("delete", "synced")] {
        for name in ["p50_us", "p95_us", "p99_us", "mean_us"] {
            positive(&report[part]["single"][kind][name]);
        }
    }
    for batch in ["batch_synced", "batch"] {
        positive(&report["upsert"][batch]["items_per_second"]);
        assert_eq!(report["delete"][batch]["items"], 50);
        positive(&report["delete"][batch]["seconds"]);
    }
    // A vector takes 32 bytes.
    assert!(positive(&report["disk_bytes_per_item"]) > 32.0);
    assert_eq!(report["peak_rss_bytes"].is_u64(), cfg!(target_os = "linux"));
    assert_eq!(report["setup"]["threads"], 1);

    let mut names: Vec<_> =
        fs::read_dir(cli.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["index.key", "v.npy"]);
}

#[test]
fn a_named_directory_stays_and_is_not_used_twice() {
    let cli = Cli::new();
    cli.write("v.npy", vectors(40));
    let line = "--vectors v.npy --holdout 1 --metric cosine --quick --directory here --threads 2";
    let table = bench(&cli, line).ok();
    for wanted in [
        "39 x 8 f32, cosine",
        "2 threads",
        "plain scan",
        "*16",
        "upsert of one, synced",
        "upserts of 1000, synced",
        "upserts of 1000, unsynced",
        "s, synced",
        "s, unsynced",
    ] {
        assert!(table.contains(wanted), "{wanted}: {table}");
    }
    assert!(!table.contains("NaN") && !table.contains("inf"), "{table}");
    assert!(cli.path("here/db/CURRENT").is_file());
    assert!(bench(&cli, line).fails(5).contains("not empty"));
}

#[test]
fn the_truth_is_a_file_or_a_scan() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let cli = Cli::new();
    let run = |truth: bool| -> Value {
        let mut command =
            cli.command("bench --metric cosine --efforts 64 --quick --precision f16 --json");
        command.arg("--vectors").arg(data.join("wordnet-5k.f16.npy"));
        command.arg("--queries").arg(data.join("wordnet-queries-50.f16.npy"));
        if truth {
            command.arg("--truth").arg(data.join("wordnet-5k-truth-top10.i32.npy"));
        }
        Run::from(command.env("TMPDIR", cli.path(".")).output().unwrap()).json()
    };
    let (read, found) = (run(true), run(false));
    for report in [&read, &found] {
        assert!(report["exact_plain"]["recall"].as_f64().unwrap() > 0.99);
        check_sweep(&report["sweep"], &[64]);
    }
    let recall = |report: &Value| report["sweep"][0]["recall"].as_f64().unwrap();
    assert!(recall(&read) > 0.5 && (recall(&read) - recall(&found)).abs() < 0.05);
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let cli = Cli::new();
    cli.write("v.npy", vectors(40));
    cli.write("few.npy", vectors(15));
    cli.write("q.npy", vectors(2));
    cli.write("wide.npy", npy(&[&[1.0; 9]]));
    cli.write("none.npy", npy(&[]));
    cli.write("zero.npy", npy(&[&[1.0; 8], &[0.0; 8]]));
    cli.write("good.npy", numbers(&[&[1, 2], &[3, 39]]));
    cli.write("short.npy", numbers(&[&[1, 2]]));
    cli.write("beyond.npy", numbers(&[&[1, 2], &[3, 40]]));
    cli.write("below.npy", numbers(&[&[1, 2], &[3, -1]]));
    for (line, said) in [
        ("--vectors v.npy --queries wide.npy", "has 9 columns, the vectors have 8"),
        ("--vectors v.npy --queries none.npy", "has no rows"),
        (
            "--vectors v.npy --queries zero.npy",
            "row 1 (counted from 0): its vector has length zero",
        ),
        ("--vectors v.npy --queries good.npy", "'<i4'"),
        ("--vectors v.npy --queries nowhere.npy", "cannot be read"),
        ("--vectors few.npy --queries q.npy", "has 15 rows"),
        ("--vectors v.npy --holdout 30", "has 40 rows"),
        ("--vectors v.npy --holdout 50", "has 40 rows"),
        ("--vectors v.npy --queries q.npy --truth q.npy", "'<f4'; '<i4' is read"),
        ("--vectors v.npy --queries q.npy --truth short.npy", "has 1 rows for 2 queries"),
        ("--vectors v.npy --queries q.npy --truth good.npy --top-k 3", "has 2 columns"),
        ("--vectors v.npy --queries q.npy --truth beyond.npy", "names row 40 of 40"),
        ("--vectors v.npy --queries q.npy --truth below.npy", "row 1 (counted from 0)"),
    ] {
        let top_k = if line.contains("--top-k") { "" } else { "--top-k 2" };
        let found = bench(&cli, &format!("{line} --metric cosine {top_k}")).fails(2);
        assert!(found.contains(said), "{said}: {found}");
    }
    for line in [
        "--metric cosine",
        "--metric cosine --holdout 0",
        "--metric cosine --holdout 1 --queries q.npy",
        "--metric cosine --holdout 1 --truth good.npy",
        "--metric cosine --holdout 1 --efforts 0",
        "--holdout 1",
    ] {
        bench(&cli, &format!("--vectors v.npy {line}")).fails(2);
    }
}
