//! What a check has found so far, collected in parts and put together.

use std::collections::BTreeMap;

use crate::crypto::sethash::SetHash;
use crate::error::{Error, Fault, Result};
use crate::id::ItemNumber;
use crate::store::key::Pseudonym;

use super::{FINDINGS, Finding};

/// An item as the attribute index knows it.
pub(super) type Indexed = (ItemNumber, Pseudonym, Option<serde_json::Value>);

/// Counts and faults of a part of the check.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) faults: BTreeMap<Fault, u64>,
    pub(super) findings: Vec<Finding>,
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) spilled: u64,
    pub(super) payload_values: u64,
    pub(super) numbers: Vec<u64>,
    /// For the attribute index; empty if there is none.
    pub(super) indexed: Vec<Indexed>,
    /// Of the signed records that were read.
    pub(super) set: SetHash,
}

impl Tally {
    /// Counts a fault. `place` is a number that names no item's content.
    pub(super) fn fault(&mut self, fault: Fault, place: Option<u64>) {
        self.fault_times(fault, place, 1);
    }

    pub(super) fn fault_times(&mut self, fault: Fault, place: Option<u64>, times: u64) {
        if times == 0 {
            return;
        }
        let count = self.faults.entry(fault).or_default();
        *count = count.saturating_add(times);
        if self.findings.len() < FINDINGS {
            self.findings.push(Finding { fault, place });
        }
    }

    pub(super) fn count(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or(0)
    }

    /// What came out well; what is damaged is counted, under `class` if it says no more than that
    /// it has another format. Any other failure ends the check.
    pub(super) fn note<T>(
        &mut self,
        result: Result<T>,
        class: Fault,
        place: Option<u64>,
    ) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Integrity(fault)) => {
                self.fault(fault, place);
                Ok(None)
            }
            Err(Error::UnsupportedFormat { .. }) => {
                self.fault(class, place);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn absorb(&mut self, other: Self) {
        for (fault, times) in other.faults {
            let count = self.faults.entry(fault).or_default();
            *count = count.saturating_add(times);
        }
        let room = FINDINGS.saturating_sub(self.findings.len());
        self.findings.extend(other.findings.into_iter().take(room));
        self.items = self.items.saturating_add(other.items);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.spilled = self.spilled.saturating_add(other.spilled);
        self.payload_values = self.payload_values.saturating_add(other.payload_values);
        self.numbers.extend(other.numbers);
        self.indexed.extend(other.indexed);
        self.set.merge(&other.set);
    }
}
