//! The catalog: the chain of commits with its signatures, grant tables, wraps, roster, and the few
//! records of which there is one.
//!
//! Every record of the index is read once, in key order. Commits come oldest first: each must follow
//! the one before, from the fold to the head that the caller's session has verified, and be signed
//! with the key that the table it names lists for its principal. Signatures are checked by all
//! threads, a page at a time. Memory is a page, and the wraps that should be there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::tally::Tally;
use super::{Run, Watch};
use crate::commit::fold::{self, Fold};
use crate::commit::{self, Head};
use crate::crypto::kdf;
use crate::error::{Error, Fault, Result};
use crate::keyring::{Link, Listed, SignedTable};
use crate::store::Family;
use crate::store::key::{self, Kind};
use crate::store::names::encode_name;
use crate::store::owed::Owed;

/// Records that are read together.
const PAGE: usize = 512;

/// What the catalog was found to hold.
#[derive(Default)]
pub(super) struct Held {
    pub(super) commits: u64,
    pub(super) folded: u64,
    pub(super) tables: u64,
    pub(super) wraps: u64,
    pub(super) roster_records: u64,
    /// The set-hash record.
    pub(super) set: Option<Vec<u8>>,
}

/// Checks the whole catalog of the index. Breaks off if `watch` does.
pub(super) fn check(
    run: Run<'_>,
    tally: &mut Tally,
    watch: &mut Watch<'_>,
) -> Result<ControlFlow<(), Held>> {
    let index = run.key.index;
    let mut reading = Reading::begin(run, tally)?;
    let mut from = index.0.to_vec();
    loop {
        let mut page: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(PAGE);
        run.snapshot.scan(Family::Catalog, &index.0, &from, &mut |found, value| {
            page.push((found.to_vec(), value.to_vec()));
            if page.len() == PAGE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let Some((last, _)) = page.last() else { break };
        from = [&last[..], &[0]].concat();
        let whole = page.len() < PAGE;
        let mut links = Vec::new();
        for (found, value) in page {
            links.extend(reading.record(&found, value, tally)?);
        }
        let signed = run.index.shared().map(links, |link: Link| {
            let sequence = link.sequence();
            Ok((sequence, link.verify()))
        })?;
        for (sequence, signed) in signed {
            tally.note(signed, Fault::Commit, Some(sequence))?;
        }
        if watch(0).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if whole {
            break;
        }
    }
    let held = reading.end(tally)?;
    beside(run, tally)?;
    Ok(ControlFlow::Continue(held))
}

/// The state of a pass over the catalog.
struct Reading<'a> {
    run: Run<'a>,
    held: Held,
    fold: Option<Fold>,
    fold_stored: bool,
    /// The commit read last, if it opened.
    before: Option<Head>,
    /// The sequence that comes next.
    next: u64,
    /// The table that the commits read last name.
    named: Option<SignedTable>,
    /// The table that the oldest kept commit names.
    oldest: Option<u64>,
    /// The table whose parts are being read.
    table: Option<(u64, Vec<Vec<u8>>)>,
    /// Wraps that are listed and have not come.
    wraps: BTreeMap<Vec<u8>, Listed>,
    /// Roster records that must be there and have not come; only the root knows which.
    roster: BTreeMap<Vec<u8>, crate::id::UserId>,
}

impl<'a> Reading<'a> {
    fn begin(run: Run<'a>, tally: &mut Tally) -> Result<Self> {
        let (key, index) = (run.key, run.key.index);
        let fold = fold::read(run.snapshot, &key.epochs, &key.head.commit);
        let fold = tally.note(fold, Fault::Commit, Some(key.head.commit.folded))?;
        let wraps = key.listed_wraps();
        let wraps =
            wraps.map(|listed| (key::wrap(index, listed.locator, listed.right), listed)).collect();
        let place = |user| (key::roster(index, &key.roster_place(user)), user);
        let roster =
            if key.is_root() { key.roster_users().map(place).collect() } else { BTreeMap::new() };
        Ok(Self {
            run,
            held: Held { folded: key.head.commit.folded, ..Held::default() },
            fold,
            fold_stored: false,
            before: None,
            next: key.head.commit.folded.saturating_add(1),
            named: None,
            oldest: None,
            table: None,
            wraps,
            roster,
        })
    }

    /// Checks a record; of a commit, all but its signature.
    fn record(&mut self, found: &[u8], value: Vec<u8>, tally: &mut Tally) -> Result<Option<Link>> {
        let kind = found.get(16).copied().unwrap_or(0);
        let alone = found.len() == 17;
        let is = |known: Kind| known as u8 == kind;
        if is(Kind::Commit) {
            return self.commit(key::sequence_of(found), value, tally);
        }
        if is(Kind::Table) {
            self.table_part(key::table_part_of(found), value, tally)?;
        } else if is(Kind::Wrap) {
            self.wrap(found, &value, tally)?;
        } else if is(Kind::Roster) {
            self.roster_record(found, tally)?;
        } else if is(Kind::Head) && alone {
            // The session was opened by it.
        } else if is(Kind::SetHash) && alone {
            self.held.set = Some(value);
        } else if is(Kind::Fold) && alone {
            self.fold_stored = true;
        } else if is(Kind::TableSignature) {
            self.table_signature(key::sequence_of(found), tally);
        } else {
            tally.fault(Fault::Catalog, None);
        }
        Ok(None)
    }

    fn commit(
        &mut self,
        sequence: Option<u64>,
        value: Vec<u8>,
        tally: &mut Tally,
    ) -> Result<Option<Link>> {
        let key = self.run.key;
        let head = &key.head.commit;
        let kept = head.folded.saturating_add(1)..=head.sequence;
        let Some(sequence) = sequence.filter(|sequence| kept.contains(sequence)) else {
            // Folded, or after the head.
            tally.fault(Fault::Commit, sequence);
            return Ok(None);
        };
        self.held.commits += 1;
        let missing = sequence.saturating_sub(self.next);
        tally.fault_times(Fault::Commit, Some(self.next), missing);
        if missing > 0 {
            self.before = None;
        }
        self.next = sequence.saturating_add(1);
        let first = sequence == head.folded.saturating_add(1);
        let opened = commit::open(&key.epochs, key.index, sequence, Some(value));
        let Some(commit) = tally.note(opened, Fault::Commit, Some(sequence))? else {
            self.before = None;
            return Ok(None);
        };
        let body = &commit.head.commit;
        let in_place = match (&self.before, &self.fold) {
            (Some(before), _) => body.follows(before),
            (None, Some(fold)) if first => fold.precedes(body),
            // The one before is missing or damaged, and counted.
            (None, _) => true,
        };
        let last = sequence != head.sequence || commit.head.hash == key.head.hash;
        if !in_place || !last {
            tally.fault(Fault::Commit, Some(sequence));
        }
        if self.oldest.is_none() {
            self.oldest = Some(body.table);
        }
        let number = body.table;
        self.before = Some(commit.head.clone());
        if self.named.as_ref().map(SignedTable::number) != Some(number) {
            // A table that is not sound is counted where it is read.
            self.named = key.read_table(self.run.snapshot, number).ok();
        }
        let link = match &self.named {
            Some(table) => key.link(commit, table),
            None => Err(Error::Integrity(Fault::Commit)),
        };
        tally.note(link, Fault::Commit, Some(sequence))
    }

    fn table_part(
        &mut self,
        place: Option<(u64, u32)>,
        value: Vec<u8>,
        tally: &mut Tally,
    ) -> Result<()> {
        let Some((number, part)) = place else {
            tally.fault(Fault::GrantTable, None);
            return Ok(());
        };
        if self.table.as_ref().is_none_or(|(open, _)| *open != number) {
            self.table_whole(tally)?;
            let before = self.held.tables;
            let due = match (self.oldest, before) {
                (Some(oldest), 0) => number == oldest,
                _ => true,
            };
            if !due || number > self.run.key.head.commit.table {
                tally.fault(Fault::GrantTable, Some(number));
            }
            self.table = Some((number, Vec::new()));
        }
        let Some((_, parts)) = &mut self.table else { return Ok(()) };
        if usize::try_from(part) != Ok(parts.len()) {
            tally.fault(Fault::GrantTable, Some(number));
        }
        parts.push(value);
        Ok(())
    }

    /// Checks the table whose parts have all been read.
    fn table_whole(&mut self, tally: &mut Tally) -> Result<()> {
        let Some((number, parts)) = self.table.take() else { return Ok(()) };
        self.held.tables += 1;
        let opened = self.run.key.open_table(self.run.snapshot, number, &parts);
        tally.note(opened, Fault::GrantTable, Some(number))?;
        Ok(())
    }

    /// What it holds was checked with its table, which comes before.
    fn table_signature(&mut self, number: Option<u64>, tally: &mut Tally) {
        let last = self.run.key.head.commit.table;
        let kept = |number: &u64| (self.oldest.unwrap_or(last)..=last).contains(number);
        if !number.as_ref().is_some_and(kept) {
            tally.fault(Fault::GrantTable, number);
        }
    }

    fn wrap(&mut self, found: &[u8], stored: &[u8], tally: &mut Tally) -> Result<()> {
        let Some(listed) = self.wraps.remove(found) else {
            tally.fault(Fault::Wrap, None);
            return Ok(());
        };
        self.held.wraps += 1;
        let checked = self.run.key.check_wrap(self.run.snapshot, &listed, stored);
        // Without a roster record a wrap cannot be opened; that record is counted by itself.
        if checked != Err(Error::Integrity(Fault::Roster)) {
            tally.note(checked, Fault::Wrap, None)?;
        }
        Ok(())
    }

    fn roster_record(&mut self, found: &[u8], tally: &mut Tally) -> Result<()> {
        self.held.roster_records += 1;
        if !self.run.key.is_root() {
            return Ok(());
        }
        match self.roster.remove(found) {
            None => tally.fault(Fault::Roster, None),
            Some(user) => {
                let entry = self.run.key.sound_roster_entry(self.run.snapshot, user);
                tally.note(entry, Fault::Roster, None)?;
            }
        }
        Ok(())
    }

    /// What is still missing when everything has been read.
    fn end(mut self, tally: &mut Tally) -> Result<Held> {
        self.table_whole(tally)?;
        let key = self.run.key;
        let head = &key.head.commit;
        let missing = head.sequence.saturating_add(1).saturating_sub(self.next);
        tally.fault_times(Fault::Commit, Some(self.next), missing);
        // Tables grow by one, and commits name all from the oldest on.
        let oldest = self.oldest.unwrap_or(head.table);
        let due = head.table.saturating_add(1).saturating_sub(oldest);
        tally.fault_times(Fault::GrantTable, None, due.abs_diff(self.held.tables));
        tally.fault_times(Fault::Wrap, None, self.wraps.len() as u64);
        let users = key.roster_users().count() as u64;
        if key.is_root() {
            tally.fault_times(Fault::Roster, None, self.roster.len() as u64);
        } else {
            tally.fault_times(Fault::Roster, None, users.abs_diff(self.held.roster_records));
        }
        // A fold that is named and missing was counted when it was to be read.
        if self.fold_stored && head.folded == 0 {
            tally.fault(Fault::Commit, None);
        }
        Ok(self.held)
    }
}

/// The records of the database that are about this index: its name, and what it is owed.
fn beside(run: Run<'_>, tally: &mut Tally) -> Result<()> {
    let index = run.key.index;
    let own = key::name(&kdf::name_place(&run.index.shared().db_salt, &run.key.table.name));
    let (record, prefix) = (encode_name(index), key::names());
    let mut named = false;
    run.snapshot.scan(Family::Catalog, &prefix, &prefix, &mut |found, value| {
        let (here, of_this) = (found == own, value == record);
        named |= here && of_this;
        // Another name that leads here, or this name elsewhere.
        if here != of_this {
            tally.fault(Fault::Catalog, None);
        }
        ControlFlow::Continue(())
    })?;
    tally.fault_times(Fault::Catalog, None, u64::from(!named));
    let owed = run.snapshot.get(Family::Catalog, &key::purge_owed(index))?;
    if let Some(owed) = owed.as_deref().map(Owed::decode) {
        let owed = tally.note(owed, Fault::Catalog, None)?;
        let last = run.key.head.commit.sequence;
        if owed.is_some_and(|owed| owed.debts().any(|(_, debt)| debt.last > last)) {
            tally.fault(Fault::Catalog, None);
        }
    }
    Ok(())
}
