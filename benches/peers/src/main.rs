//! sealvec beside approximate indexes that do not encrypt: `make bench-peers`.
//!
//! One run, one machine, one thread, the same files: first `sealvec bench` as a program of its own,
//! the plain exact scan included, then usearch and hnsw_rs, both in memory, over f32, with 16 links
//! a node and 128 candidates while building. A query is timed by itself, after a pass of all of
//! them that is not, as `sealvec bench` does it; recall is by the same truth. Under the cosine
//! metric the peers get vectors of length 1, so that they compare by their cheapest distance.
//!
//! The peers keep nothing on disk, check nothing and hide nothing: the distance to them is what all
//! of that costs, not a contest.

mod files;

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use hnsw_rs::prelude::{DistL2, Hnsw};
use serde_json::{Value, json};
use usearch::{IndexOptions, MetricKind, ScalarKind};

use files::{Matrix, Rows};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const LINKS: usize = 16;
const BUILDING: usize = 128;
const CANDIDATES: [usize; 5] = [16, 32, 64, 128, 256];
const USAGE: &str = "usage: sealvec-peers --sealvec PROGRAM --vectors X.npy --queries Q.npy \
    --truth T.npy --metric cosine|euclidean|inner-product [--top-k K] [--json] [--quick]";

struct Arguments {
    sealvec: String,
    vectors: String,
    queries: String,
    truth: String,
    metric: String,
    top_k: usize,
    json: bool,
    quick: bool,
}

/// What a peer did.
struct Found {
    build: Duration,
    /// By number of candidates: for each query its hits, and how long it took.
    sweep: Vec<(usize, Vec<(Vec<u32>, Duration)>)>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args = arguments()?;
    let sealvec = sealvec(&args)?;
    let mut vectors = Matrix::read(&args.vectors)?;
    let mut queries = Matrix::read(&args.queries)?;
    let truth = Rows::read(&args.truth)?;
    if args.metric == "cosine" {
        vectors.normalise();
        queries.normalise();
    }
    let mut peers = Vec::new();
    let found = usearch(&args, &vectors, &queries)?;
    peers.push(report(&args, &format!("usearch {}", usearch::version()), &found, &truth));
    // It has no inner product over vectors of any length.
    if args.metric != "inner-product" {
        let found = hnsw(&args, &vectors, &queries);
        peers.push(report(&args, "hnsw_rs 0.3", &found, &truth));
    }
    if args.json {
        println!("{}", json!({"sealvec": sealvec, "peers": peers}));
    } else {
        print(&sealvec, &peers);
    }
    Ok(())
}

fn arguments() -> Result<Arguments> {
    let mut given = std::env::args().skip(1);
    let mut args = Arguments {
        sealvec: String::new(),
        vectors: String::new(),
        queries: String::new(),
        truth: String::new(),
        metric: String::new(),
        top_k: 10,
        json: false,
        quick: false,
    };
    while let Some(name) = given.next() {
        let mut value = || given.next().ok_or(USAGE);
        match name.as_str() {
            "--sealvec" => args.sealvec = value()?,
            "--vectors" => args.vectors = value()?,
            "--queries" => args.queries = value()?,
            "--truth" => args.truth = value()?,
            "--metric" => args.metric = value()?,
            "--top-k" => args.top_k = value()?.parse()?,
            "--json" => args.json = true,
            "--quick" => args.quick = true,
            _ => return Err(USAGE.into()),
        }
    }
    let known = ["cosine", "euclidean", "inner-product"].contains(&args.metric.as_str());
    let missing = [&args.sealvec, &args.vectors, &args.queries, &args.truth];
    if !known || args.top_k == 0 || missing.iter().any(|value| value.is_empty()) {
        return Err(USAGE.into());
    }
    Ok(args)
}

/// Runs `sealvec bench` on the same files.
fn sealvec(args: &Arguments) -> Result<Value> {
    eprintln!("sealvec ...");
    let mut command = Command::new(&args.sealvec);
    command.args(["bench", "--json", "--threads", "1", "--top-k", &args.top_k.to_string()]);
    command.args(["--vectors", &args.vectors, "--queries", &args.queries]);
    command.args(["--truth", &args.truth, "--metric", &args.metric]);
    if args.quick {
        command.arg("--quick");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} bench failed", args.sealvec).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn usearch(args: &Arguments, vectors: &Matrix, queries: &Matrix) -> Result<Found> {
    eprintln!("usearch ...");
    let options = IndexOptions {
        dimensions: vectors.columns,
        metric: match args.metric.as_str() {
            "euclidean" => MetricKind::L2sq,
            // Of unit vectors it is the cosine.
            _ => MetricKind::IP,
        },
        quantization: ScalarKind::F32,
        connectivity: LINKS,
        expansion_add: BUILDING,
        ..IndexOptions::default()
    };
    let index = usearch::Index::new(&options)?;
    let start = Instant::now();
    index.reserve_capacity_and_threads(vectors.rows(), 1)?;
    for (row, vector) in (0u64..).zip(vectors.iter()) {
        index.add(row, vector)?;
    }
    let build = start.elapsed();
    let mut sweep = Vec::new();
    for candidates in CANDIDATES {
        index.change_expansion_search(candidates);
        for query in queries.iter() {
            index.search(query, args.top_k)?;
        }
        let mut found = Vec::new();
        for query in queries.iter() {
            let start = Instant::now();
            let matches = index.search(query, args.top_k)?;
            let time = start.elapsed();
            let rows: std::result::Result<_, _> =
                matches.keys.into_iter().map(u32::try_from).collect();
            found.push((rows?, time));
        }
        sweep.push((candidates, found));
    }
    Ok(Found { build, sweep })
}

fn hnsw(args: &Arguments, vectors: &Matrix, queries: &Matrix) -> Found {
    eprintln!("hnsw_rs ...");
    let start = Instant::now();
    let index = Hnsw::new(LINKS, vectors.rows(), 16, BUILDING, DistL2);
    for (row, vector) in vectors.iter().enumerate() {
        index.insert((vector, row));
    }
    let build = start.elapsed();
    let search = |candidates: usize| {
        for query in queries.iter() {
            index.search(query, args.top_k, candidates);
        }
        let found = queries.iter().map(|query| {
            let start = Instant::now();
            let hits = index.search(query, args.top_k, candidates);
            let time = start.elapsed();
            let row = |hit: &hnsw_rs::prelude::Neighbour| u32::try_from(hit.d_id);
            (hits.iter().filter_map(|hit| row(hit).ok()).collect(), time)
        });
        (candidates, found.collect())
    };
    Found { build, sweep: CANDIDATES.map(search).into() }
}

/// In the words of `sealvec bench`.
fn report(args: &Arguments, name: &str, found: &Found, truth: &Rows) -> Value {
    let sweep = found.sweep.iter().map(|(candidates, queries)| {
        let mut times: Vec<f64> = queries.iter().map(|(_, time)| time.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
            rounded(times.get(rank).copied().unwrap_or(0.0) * 1e6, 10.0)
        };
        let (mut wanted, mut seen) = (0.0, 0.0);
        for (truth, (hits, _)) in truth.iter().zip(queries) {
            for row in truth.iter().take(args.top_k) {
                wanted += 1.0;
                seen += f64::from(u8::from(hits.contains(row)));
            }
        }
        json!({
            "ef": candidates,
            "recall": rounded(seen / wanted, 1e4),
            "qps": rounded(times.len() as f64 / times.iter().sum::<f64>(), 10.0),
            "p50_us": at(50),
            "p95_us": at(95),
            "p99_us": at(99),
        })
    });
    let sweep: Vec<Value> = sweep.collect();
    json!({"name": name, "build_seconds": rounded(found.build.as_secs_f64(), 1e3), "sweep": sweep})
}

fn rounded(number: f64, scale: f64) -> f64 {
    (number * scale).round() / scale
}

fn print(sealvec: &Value, peers: &[Value]) {
    println!(
        "{:18}{:>8}{:>8}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "one thread", "effort", "recall", "qps", "p50 us", "p95 us", "p99 us", "build s"
    );
    let line = |name: &str, effort: &str, row: &Value, build: &Value| {
        let [recall, qps, p50, p95, p99] =
            ["recall", "qps", "p50_us", "p95_us", "p99_us"].map(|key| row[key].as_f64());
        let [recall, qps, p50, p95, p99] = [recall, qps, p50, p95, p99].map(|x| x.unwrap_or(0.0));
        let build = build.as_f64().map_or("-".into(), |seconds| format!("{seconds:.2}"));
        println!(
            "{name:18}{effort:>8}{recall:>8.4}{qps:>10.1}{p50:>10.1}{p95:>10.1}{p99:>10.1}\
            {build:>10}"
        );
    };
    line("plain scan", "exact", &sealvec["exact_plain"], &Value::Null);
    let rows = |sweep: &Value| sweep.as_array().cloned().unwrap_or_default();
    for row in rows(&sealvec["sweep"]) {
        let mark = if row["default"] == true { "*" } else { "" };
        let effort = format!("{mark}{}", row["effort"]);
        line("sealvec, on disk", &effort, &row, &sealvec["import"]["seconds"]);
    }
    for peer in peers {
        for row in rows(&peer["sweep"]) {
            let name = peer["name"].as_str().unwrap_or_default();
            line(name, &format!("ef {}", row["ef"]), &row, &peer["build_seconds"]);
        }
    }
    println!("* sealvec's default; sealvec is encrypted, the others are plain and in memory");
}
