//! Users: granting, revoking and listing rights. All three need the index key.

use std::io::Write;

use sealvec::{Answer, UserId, VersionToken};

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
    let token = index.grant(args.user_id, &user_key, args.permissions)?;
    db.close()?;
    let permissions = args.permissions.to_string();
    print_line(&match args.output {
        Format::Json => with_token(object(args.user_id).text("permissions", &permissions), token),
        Format::Table => format!("granted {permissions} to {}", name(args.user_id)),
    })
}

fn revoke(caller: &Caller, args: &Revoke) -> Result<()> {
    let Writing { db, index } = caller.writing(&args.name)?;
    let Answer { value: revoked, version: token, .. } = index.revoke(args.user_id)?;
    db.close()?;
    print_line(&match (args.output, revoked) {
        (Format::Json, _) => with_token(object(args.user_id).field("revoked", revoked), token),
        (Format::Table, true) => format!("revoked every right of {}", name(args.user_id)),
        (Format::Table, false) => format!("{} had no rights", name(args.user_id)),
    })
}

fn list(caller: &Caller, args: &UserList) -> Result<()> {
    let users = caller.reading(&args.name)?.users()?;
    let token = users.version;
    let mut out = Output::stdout();
    for user in users {
        let permissions = user.permissions.to_string();
        match args.output {
            Format::Json => {
                let line = object(user.id).text("permissions", &permissions);
                writeln!(out, "{}", with_token(line, token))?;
            }
            Format::Table => writeln!(out, "{}  {permissions}", name(user.id))?,
        }
    }
    out.finish()
}

fn name(user: UserId) -> String {
    hex(user.as_bytes())
}

fn with_token(line: Object, token: VersionToken) -> String {
    line.text("version_token", &token.to_string()).end()
}

fn object(user: UserId) -> Object {
    Object::new().text("user_id", &name(user))
}
