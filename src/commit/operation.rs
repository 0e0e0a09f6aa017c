//! What commits do, by name.

use std::fmt;

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// The index was made. Always the first commit, and no other.
    Create,
    /// Items were put.
    Upsert,
    /// Contents or metadata of an item were changed.
    Update,
    /// Items were deleted.
    Delete,
    /// A user got rights.
    Grant,
    /// A user lost its rights.
    Revoke,
    /// The partition tree was rebuilt in part; items are as they were.
    Optimize,
    /// Items were put and deleted in one batch.
    Write,
    /// A delete that met damage: it looked for rows in every leaf and counted again.
    Recount,
    /// The index got another index key; users and items are as they were.
    RotateIndexKey,
    /// The index got another data key, which everything written from then on is under.
    RotateDataKeys,
    /// Records were sealed again under the present data key; items are as they were.
    Reencrypt,
    /// Data keys that nothing is under any more were taken out of use.
    RetireDataKeys,
}

impl Operation {
    /// In the order of their bytes.
    const ALL: [Self; 13] = [
        Self::Create,
        Self::Upsert,
        Self::Update,
        Self::Delete,
        Self::Grant,
        Self::Revoke,
        Self::Optimize,
        Self::Write,
        Self::Recount,
        Self::RotateIndexKey,
        Self::RotateDataKeys,
        Self::Reencrypt,
        Self::RetireDataKeys,
    ];

    /// Its name in lower case, as [`Display`](fmt::Display) writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Upsert => "upsert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Grant => "grant",
            Self::Revoke => "revoke",
            Self::Optimize => "optimize",
            Self::Write => "write",
            Self::Recount => "recount",
            Self::RotateIndexKey => "rotate-index-key",
            Self::RotateDataKeys => "rotate-data-keys",
            Self::Reencrypt => "reencrypt",
            Self::RetireDataKeys => "retire-data-keys",
        }
    }

    /// As stored.
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Create => 1,
            Self::Upsert => 2,
            Self::Update => 3,
            Self::Delete => 4,
            Self::Grant => 5,
            Self::Revoke => 6,
            Self::Optimize => 7,
            Self::Write => 8,
            Self::Recount => 9,
            Self::RotateIndexKey => 10,
            Self::RotateDataKeys => 11,
            Self::Reencrypt => 12,
            Self::RetireDataKeys => 13,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.byte() == byte)
    }

    /// Whether it changes items, and with them the ETag.
    pub(crate) const fn changes_items(self) -> bool {
        match self {
            Self::Create
            | Self::Upsert
            | Self::Update
            | Self::Delete
            | Self::Write
            | Self::Recount => true,
            Self::Grant
            | Self::Revoke
            | Self::Optimize
            | Self::RotateIndexKey
            | Self::RotateDataKeys
            | Self::Reencrypt
            | Self::RetireDataKeys => false,
        }
    }

    /// Whether it puts a new grant table in force, which only the root can.
    pub(crate) const fn changes_table(self) -> bool {
        match self {
            Self::Create
            | Self::Grant
            | Self::Revoke
            | Self::RotateIndexKey
            | Self::RotateDataKeys
            | Self::RetireDataKeys => true,
            Self::Upsert
            | Self::Update
            | Self::Delete
            | Self::Optimize
            | Self::Write
            | Self::Recount
            | Self::Reencrypt => false,
        }
    }

    /// Whether it takes keys back, so that what it deletes is purged at the next open for writing,
    /// whatever the options.
    pub(crate) const fn purges_at_once(self) -> bool {
        matches!(self, Self::Revoke | Self::RotateIndexKey | Self::RetireDataKeys)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_byte_and_a_name_of_its_own() {
        for (byte, operation) in (1u8..).zip(Operation::ALL) {
            assert_eq!((operation.byte(), Operation::from_byte(byte)), (byte, Some(operation)));
            let name = operation.to_string().replace('-', "");
            assert_eq!(format!("{operation:?}").to_lowercase(), name);
        }
        assert_eq!((Operation::from_byte(0), Operation::from_byte(14)), (None, None));
    }
}
