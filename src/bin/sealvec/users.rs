//! Users: granting, revoking and listing rights. All three need the index key.

use std::io::Write;

use sealvec::UserId;

use crate::args::{Grant, Revoke, UserList, Users};
use crate::failure::Result;
use crate::keys;
use crate::output::{Format, Object, Output, hex, print_line};
use crate::session::{Caller, Writing};

pub(crate) fn run(caller: &Caller, command: &Users) -> Result<()> {
    match command {
        Users::Grant(args) => grant(caller, args),
        Users::Revoke(args) => revoke(caller, args),
        Users::List(args) => list(caller, args),
    }
}

fn grant(caller: &Caller, args: &Grant) -> Result<()> {
    let user_key = keys::user_key(&args.user_key_file)?;
    let Writing { db, index } = caller.writing(&args.name)?;
    index.grant(args.user_id, &user_key, args.permissions)?;
    db.close()?;
    let permissions = args.permissions.to_string();
    print_line(&match args.output {
        Format::Json => object(args.user_id).text("permissions", &permissions).end(),
        Format::Table => format!("granted {permissions} to {}", name(args.user_id)),
    })
}

fn revoke(caller: &Caller, args: &Revoke) -> Result<()> {
    let Writing { db, index } = caller.writing(&args.name)?;
    let revoked = index.revoke(args.user_id)?;
    db.close()?;
    print_line(&match (args.output, revoked) {
        (Format::Json, _) => object(args.user_id).field("revoked", revoked).end(),
        (Format::Table, true) => format!("revoked every right of {}", name(args.user_id)),
        (Format::Table, false) => format!("{} had no rights", name(args.user_id)),
    })
}

fn list(caller: &Caller, args: &UserList) -> Result<()> {
    let users = caller.reading(&args.name)?.users()?;
    let mut out = Output::stdout();
    for user in users {
        let permissions = user.permissions.to_string();
        match args.output {
            Format::Json => {
                writeln!(out, "{}", object(user.id).text("permissions", &permissions).end())?;
            }
            Format::Table => writeln!(out, "{}  {permissions}", name(user.id))?,
        }
    }
    out.finish()
}

fn name(user: UserId) -> String {
    hex(user.as_bytes())
}

fn object(user: UserId) -> Object {
    Object::new().text("user_id", &name(user))
}
