//! From the command line to the command, and the commands about keys and whole indexes.
//!
//! A command that writes closes the database before it prints its answer: what is printed has
//! happened.

use sealvec::{Database, IndexConfig};

use crate::args::{Command, Create, Drop, Indexes, Program, Stats};
use crate::failure::{Failure, Result};
use crate::output::{Format, Object, Output, array, print_line, print_pairs, quote};
use crate::session::Caller;
use crate::{
    bench, export, history, import, items, keys, optimize, purge, query, rotate, users, verify,
};

/// Runs the command.
pub(crate) fn run(program: Program) -> Result<()> {
    let Program { global, acting, command } = program;
    let user = match (acting.user_id, command.acting()) {
        (Some(_), Some(_)) => {
            return Err(Failure::Usage("--user-id is given before and after the command".into()));
        }
        (before, after) => before.or(after),
    };
    let caller = Caller { global, user };
    let opens_none = match &command {
        Command::Keygen(_) => Some("keygen"),
        Command::Create(_) => Some("create"),
        Command::Indexes(_) => Some("indexes"),
        Command::Bench(_) => Some("bench"),
        _ => None,
    };
    opens_none.map_or(Ok(()), |command| caller.has_seen_nothing(command))?;
    match command {
        Command::Keygen(args) => keys::generate(&args.out),
        Command::Create(args) => create(&caller, &args),
        Command::Import(args) => import::run(&caller, &args),
        Command::Export(args) => export::run(&caller, &args),
        Command::Query(args) => query::run(&caller, &args),
        Command::Get(args) => items::get(&caller, &args),
        Command::Delete(args) => items::delete(&caller, &args),
        Command::List(args) => items::list(&caller, &args),
        Command::Count(args) => items::count(&caller, &args),
        Command::Stats(args) => stats(&caller, &args),
        Command::Verify(args) => verify::run(&caller, &args),
        Command::History(args) => history::run(&caller, &args),
        Command::Optimize(args) => optimize::run(&caller, &args),
        Command::Purge(args) => purge::run(&caller, &args),
        Command::Indexes(args) => indexes(&caller, &args),
        Command::Users(args) => users::run(&caller, &args),
        Command::RotateIndexKey(args) => rotate::index_key(&caller, &args),
        Command::RotateDataKeys(args) => rotate::data_keys(&caller, &args),
        Command::Reencrypt(args) => rotate::reencrypt(&caller, &args),
        Command::Drop(args) => drop_index(&caller, &args),
        Command::Bench(args) => bench::run(&caller, &args),
    }
}

fn create(caller: &Caller, args: &Create) -> Result<()> {
    let directory = caller.directory()?;
    if caller.user.is_some() {
        return Err(Failure::Usage(
            "create takes the key of the new index; leave out --user-id".into(),
        ));
    }
    let key = caller.source()?.index_key()?;
    let config = IndexConfig::new(args.metric).precision(args.precision);
    let config = args.attributes.add_to(config);
    let config = match args.dimension {
        Some(dimension) => config.dimension(dimension),
        None => config,
    };
    let db = Database::open(directory, caller.options())?;
    db.create_index(&args.name, &key, config)?;
    db.close()?;
    print_line("created")
}

fn stats(caller: &Caller, args: &Stats) -> Result<()> {
    let found = caller.reading(&args.name)?.describe()?;
    match args.output {
        Format::Json => print_line(
            &Object::new()
                .text("name", &found.name)
                .field("dimension", found.dimension.map_or("null".into(), |n| n.to_string()))
                .text("metric", found.metric.as_str())
                .text("precision", found.precision.as_str())
                .field("item_count", found.item_count)
                .field("total_size_bytes", found.total_size_bytes)
                .text("etag", &found.etag.to_string())
                .text("version_token", &found.version.to_string())
                .text("permissions", &found.permissions.to_string())
                .end(),
        ),
        Format::Table => print_pairs(&[
            ("name", found.name),
            ("dimension", found.dimension.map_or("not set yet".into(), |n| n.to_string())),
            ("metric", found.metric.to_string()),
            ("precision", found.precision.to_string()),
            ("items", found.item_count.to_string()),
            ("size in bytes", found.total_size_bytes.to_string()),
            ("etag", found.etag.to_string()),
            ("version token", found.version.to_string()),
            ("permissions", found.permissions.to_string()),
        ]),
    }
}

fn indexes(caller: &Caller, args: &Indexes) -> Result<()> {
    use std::io::Write;

    let (directory, key) = (caller.directory()?, caller.key()?);
    let names = Database::open_read_only(directory, caller.options())?.list_indexes(&key)?;
    let mut out = Output::stdout();
    match args.output {
        Format::Json => {
            let names = array(names.iter().map(|name| quote(name)));
            writeln!(out, "{}", Object::new().field("indexes", names).end())?;
        }
        Format::Table => {
            for name in names {
                writeln!(out, "{name}")?;
            }
        }
    }
    out.finish()
}

fn drop_index(caller: &Caller, args: &Drop) -> Result<()> {
    if !args.yes {
        return Err(Failure::Usage(
            "drop deletes the index and everything in it; confirm with --yes".into(),
        ));
    }
    let (directory, key) = (caller.directory()?, caller.key()?);
    let db = Database::open(directory, caller.options().create(false))?;
    db.delete_index(&args.name, &key)?;
    db.close()?;
    print_line("dropped")
}
