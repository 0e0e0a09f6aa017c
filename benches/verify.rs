//! What a full check costs: seconds for everything that is stored of an index.
//!
//! `cargo bench --bench verify` prints the table of docs/design.md. 40,000 WordNet glosses with
//! 384-dimensional f32 vectors, contents and metadata, under the index key, with an attribute index
//! and without.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::pedantic,
    clippy::unwrap_used,
    reason = "a bench that fails may stop"
)]

mod support;

use std::ops::ControlFlow;
use std::time::Instant;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    let count = if quick { 2_000 } else { 40_000 };
    println!("items: {count} x {} f32\n", support::DIMENSION);
    println!("| index | threads | seconds | payload values | nodes | blocks |");
    println!("|---|---|---|---|---|---|");
    for (name, metadata) in [("with metadata", true), ("without", false)] {
        let mut items = support::items(count);
        if !metadata {
            for item in &mut items {
                *item = sealvec::Item::new(item.id(), item.vector().to_vec()).contents("text");
            }
        }
        for threads in [1, 0] {
            let directory = tempfile::tempdir().unwrap();
            let (_db, index) = support::sealed(directory.path(), &items, threads);
            let start = Instant::now();
            let report = index.verify(|_| ControlFlow::Continue(())).unwrap();
            let seconds = start.elapsed().as_secs_f64();
            assert!(report.is_sound());
            let nodes = report.tree.leaves + report.tree.branches;
            let threads = if threads == 0 { "all".to_owned() } else { threads.to_string() };
            println!(
                "| {name} | {threads} | {seconds:.2} | {} | {nodes} | {} |",
                report.payload_values, report.tree.blocks
            );
        }
    }
}
