//! The methods of the public API, and which operation of the table stands for each.

use super::Operation;

/// The methods that need no key: they answer from nothing that is sealed.
pub(super) const NEED_NO_KEY: [&str; 17] = [
    "Database::bytes_written",
    "Database::checkpoint",
    "Database::close",
    "Database::create_index",
    "Database::flush",
    "Database::in_memory",
    "Database::in_memory_with",
    "Database::open",
    "Database::open_index",
    "Database::open_on",
    "Database::open_read_only",
    "Database::purge_owed",
    "Index::at_least",
    "Index::name",
    "Index::with_durability",
    "Index::with_key",
    "Index::with_traceparent",
];

/// The methods that get the key from a provider, and go on as the method beside.
pub(super) const PROVIDED: [(&str, &str); 1] =
    [("Database::load_index_with", "Database::load_index")];

pub(super) const fn method(operation: Operation) -> &'static str {
    match operation {
        Operation::Describe => "Index::describe",
        Operation::Count => "Index::count",
        Operation::CountWhere => "Index::count_where",
        Operation::QueryMetadata => "Index::query_metadata",
        Operation::Get => "Index::get",
        Operation::Query => "Index::query",
        Operation::QueryBatch => "Index::query_batch",
        Operation::ListIds => "Index::list_ids",
        Operation::ForEach => "Index::for_each",
        Operation::History => "Index::history",
        Operation::ForEachCommit => "Index::for_each_commit",
        Operation::VerifyTree => "Index::verify_tree",
        Operation::Verify => "Index::verify",
        Operation::Check => "Index::check",
        Operation::Upsert => "Index::upsert",
        Operation::BulkUpsert => "Index::bulk_upsert",
        Operation::Update => "Index::update",
        Operation::UpsertWith => "Index::upsert_with",
        Operation::UpdateWith => "Index::update_with",
        Operation::WriteBatch => "Index::write_batch",
        Operation::Delete => "Index::delete",
        Operation::DeleteWith => "Index::delete_with",
        Operation::DeleteWhere => "Index::delete_where",
        Operation::Optimize => "Index::optimize",
        Operation::Purge => "Index::purge",
        Operation::Grant => "Index::grant",
        Operation::Revoke => "Index::revoke",
        Operation::Users => "Index::users",
        Operation::LoadIndex => "Database::load_index",
        Operation::ListIndexes => "Database::list_indexes",
        Operation::DeleteIndex => "Database::delete_index",
        Operation::RotateIndexKey => "Database::rotate_index_key",
        Operation::RotateDataKeys => "Database::rotate_data_keys",
        Operation::Reencrypt => "Index::reencrypt",
    }
}
