//! Which data keys the stored records of an index are under.
//!
//! Goes by the list of all kinds of records, not by the stages of a run: a kind that no stage seals
//! again keeps its data key in use, so that the run fails and nothing becomes unreadable. A kind
//! that is added does not compile before it has its line here.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::error::{Error, Fault, Result};
use crate::index::open_item;
use crate::keyring::Session;
use crate::store::key::{self, Kind};
use crate::store::record::{epoch_of, node_epochs};
use crate::store::{Family, Snapshot};

/// The epochs of every record of the index, and of the payload of every item.
pub(super) fn in_use(snapshot: &dyn Snapshot, key: &Session) -> Result<BTreeSet<u32>> {
    let mut survey = Survey { key, used: BTreeSet::new(), plain: Vec::new() };
    for family in Family::ALL {
        match family {
            Family::Catalog | Family::Items | Family::Nodes | Family::Attributes => {}
            // Does not say it itself: the item records do.
            Family::Payload => continue,
        }
        let mut outcome = Ok(());
        let prefix = &key.index.0;
        snapshot.scan(family, prefix, prefix, &mut |place, stored| {
            outcome = survey.record(place, stored);
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        outcome?;
    }
    Ok(survey.used)
}

struct Survey<'a> {
    key: &'a Session,
    used: BTreeSet<u32>,
    plain: Vec<u8>,
}

impl Survey<'_> {
    fn record(&mut self, place: &[u8], stored: &[u8]) -> Result<()> {
        let kind = Kind::of(place).ok_or(Error::Integrity(Fault::Catalog))?;
        let fault = match kind {
            // Of the database, which has none of an index's keys.
            Kind::Database | Kind::Name | Kind::PurgeOwed | Kind::CheckpointMade => {
                return Err(Error::Integrity(Fault::Catalog));
            }
            // Not sealed; or under the keys of root and users, and made again whenever the data keys
            // change; or told of by the item.
            Kind::Head
            | Kind::SetHash
            | Kind::Wrap
            | Kind::Roster
            | Kind::Vector
            | Kind::Contents
            | Kind::Metadata => return Ok(()),
            Kind::Commit | Kind::Fold => Fault::Commit,
            Kind::Table | Kind::TableSignature => Fault::GrantTable,
            Kind::Item => {
                let pseudonym = key::pseudonym_of(place);
                let pseudonym = pseudonym.ok_or(Error::Integrity(Fault::ItemRecord))?;
                let item = open_item(self.key, &pseudonym, stored, &mut self.plain)?;
                self.used.insert(item.payload_epoch);
                Fault::ItemRecord
            }
            Kind::Node => {
                if let Some((node, 0)) = key::node_of(place) {
                    self.used.extend(node_epochs(self.key.index, node, stored)?);
                }
                return Ok(());
            }
            Kind::Posting | Kind::Directory | Kind::Column => Fault::Attribute,
        };
        self.used.insert(epoch_of(stored).ok_or(Error::Integrity(fault))?);
        Ok(())
    }
}
