//! What the help says below the options: formats, examples and exit codes.

pub(crate) const PROGRAM: &str = "\
Examples:
  sealvec keygen --out index.key
  sealvec --db db --key-file index.key create notes --dimension 384 --metric cosine
  sealvec --db db --key-file index.key import notes --vectors v.npy --items v.jsonl
  sealvec --db db --key-file index.key query notes --vectors q.npy --top-k 3 --output json

  sealvec keygen --out alice.key
  sealvec --db db --key-file index.key users grant notes \\
      --user-id a11ce000000000000000000000000001 --user-key-file alice.key --permissions read
  sealvec --db db --key-file alice.key --user-id a11ce000000000000000000000000001 stats notes

A key is 64 hexadecimal digits, or in a file the 32 bytes too; key files must be readable by their owner
only. It is stored nowhere: without it nothing can be read.
Ids and names that begin with \"-\" go after \"--\".

With --output json an answer from an index has its \"version_token\": the state it was given from
(history's lines are commits, each with its own parts of one). Pass one to --min-version, and an index
that was put back to an earlier state is refused.

Exit codes:
  0  done
  1  anything else, such as a full disk
  2  a bad argument, input file or key file content
  3  no key, the wrong key, or a right is missing
  4  there is no such database, index or item
  5  it exists already, or the database is in use; a database has one writing process
  6  stored data is damaged, or of a format version this program does not read
  7  the index is older than --min-version, has another history, or one too short to tell";

pub(crate) const IMPORT: &str = "\
The vectors are a two-dimensional little-endian float16 or float32 array in C order. The items are
one JSON object a line, in the same order and number:
  {\"id\": \"doc-7\", \"contents\": \"text\", \"metadata\": {\"page\": 3}}
Contents that are not text are {\"base64\": \"...\"}; contents and metadata can be left out.

All of both files is checked before anything is written. Writing is in commits of about 16 MiB. An
import that was interrupted is continued by running it again: what is there is skipped; under
--overwrite too, if nothing about it would change. Of several rows with one id the first is kept, or
the last with --overwrite; to skip, an import needs the read right too.

Examples:
  sealvec --db db --key-file index.key import notes --vectors v.npy --items v.jsonl
  sealvec --db db --key-file index.key import notes --vectors v.npy --overwrite --output json";

pub(crate) const QUERY: &str = "\
json is one line a query:
  {\"query\":0,\"hits\":[{\"id\":\"doc-7\",\"distance\":0.25}],\"version_token\":\"...\"}
ids-npy is an int64 array of (queries, top-k) for ids that are whole numbers, filled up with -1.
Smaller distances are nearer: 1 - cosine, the Euclidean distance (not squared), or minus the inner
product.

Examples:
  sealvec --db db --key-file index.key query notes --vectors q.npy --top-k 3 --output json
  sealvec --db db --key-file index.key query notes --like doc-7 --include contents
  sealvec --db db --key-file index.key query notes --like doc-7 --where '{\"lang\":\"en\"}'
  sealvec --db db --key-file index.key query notes --vectors q.npy --output ids-npy --out hits.npy";

pub(crate) const GRANT: &str = "\
Example:
  sealvec --db db --key-file index.key users grant notes \\
      --user-id a11ce000000000000000000000000001 --user-key-file alice.key --permissions read,write";

pub(crate) const KEYGEN: &str = "\
Example:
  sealvec keygen --out index.key";

pub(crate) const CREATE: &str = "\
Example:
  sealvec --db db --key-file index.key create notes --dimension 384 --metric cosine";

pub(crate) const EXPORT: &str = "\
The files are what import reads; the order of items means nothing.

Example:
  sealvec --db db --key-file index.key export notes --vectors out.npy --items out.jsonl";

pub(crate) const ITEMS: &str = "\
An id that is not there is part of the answer, and no failure.

Examples, the last with an id that begins with \"-\":
  sealvec --db db --key-file index.key get notes doc-7 doc-8 --output json
  sealvec --db db --key-file index.key get notes -- -7";

pub(crate) const DELETE: &str = "\
All of the ids in one commit, or none. An id that is not there is counted and no failure, unless
--missing error says so; exit code 4 then. The ETag is what stats, import and the last delete said; if
the index has changed since, nothing is deleted and the exit code is 5. Deleting needs the write right;
--dry-run and --limit, which tell of items that stay, the read right too.

json has what became of each id under \"outcomes\": deleted, deleted_corrupt (it was damaged),
missing, condition_failed, or remaining (over the limit). It is empty for who may not read.

Examples, the last with an id that begins with \"-\":
  sealvec --db db --key-file index.key delete notes doc-7 doc-8 --dry-run --output json
  sealvec --db db --key-file index.key delete notes --where '{\"year\":{\"$lt\":2015}}' --dry-run
  sealvec --db db --key-file index.key delete notes --missing error -- -7";

pub(crate) const LIST: &str = "\
With --limit, the cursor of the next page comes on stderr (table) or as \"next\" (json).

Examples:
  sealvec --db db --key-file index.key list notes
  sealvec --db db --key-file index.key list notes --limit 100 --output json
  sealvec --db db --key-file index.key list notes --where '{\"lang\":\"en\"}' --order-by year:desc";

pub(crate) const COUNT: &str = "\
Examples:
  sealvec --db db --key-file index.key count notes
  sealvec --db db --key-file index.key count notes --where '{\"lang\":\"en\"}' --output json";

pub(crate) const BENCH: &str = "\
Makes a database under a key that is thrown away, stores the vectors without contents or metadata,
and measures, in this order: the import; searches at every effort; a plain scan of the same vectors
in memory, unsealed, on one thread; the price of a key with every call; get, upsert and delete.
Searches take one thread unless --threads says more. Each is timed by itself, after a pass of all of
them that is not. The vectors are used as they are.

Peak memory is the process's, without the plain scan's copy of the vectors. --directory should be on
the disk in question: synced writes are as fast as its fsync. In JSON, \"batch\" of upsert and delete
is unsynced, \"batch_synced\" is synced. The truth is an int32 array of row numbers with a row for each
query.

Examples:
  sealvec bench --vectors v.npy --queries q.npy --truth t.npy --metric cosine
  sealvec bench --vectors v.npy --holdout 500 --metric euclidean --efforts 8,16,32 --json";

pub(crate) const VERIFY: &str = "\
Reads, opens and hashes everything that is stored of the index: every commit with its signature, from
the oldest that is kept; grant tables, wraps and roster; every item with its vector, contents and
metadata; the search tree and the attribute index against the items; and all of it against the state
that the last commit signed. It does not stop at a fault. Exit code 0: sound; 6: the report lists what
is not, by class. It needs the read right; with the index key, what others' wraps hold is checked too.

An older state of the whole directory is sound: pass --min-version with the version token of an answer
that you have seen. Nodes over the default limits are counted, and no damage: a library user built them
under other limits.

Examples:
  sealvec --db db --key-file index.key verify notes --output json
  sealvec --db db --key-file index.key verify notes --min-version \"$TOKEN\"";

pub(crate) const HISTORY: &str = "\
One line a commit, newest first: its number, when it was made (by the clock of who made it), what it
did, how many items it inserted (+), updated (~) and deleted (-), how many there were then, who made
it, and the trace id that came with the call. Commits beyond the retention of the index come last,
in one line, as sums; with json as {\"folded\":{...}}.

Every commit is checked: that it follows the one before, and that who it names signed it with a key
that was valid then. Exit code 6 says that one does not; what was printed before that is verified.
It needs the read right.

Examples:
  sealvec --db db --key-file index.key history notes
  sealvec --db db --key-file index.key history notes --from 100 --limit 20 --output json";

pub(crate) const OPTIMIZE: &str = "\
Worth its time after many writes, most of all after many deletes: queries then find more and read
less. Each part is a commit of its own; an interrupted run is continued by running it again, and one
that finds nothing to do writes nothing. It needs the write right.

Example:
  sealvec --db db --key-file index.key optimize notes --output json";

pub(crate) const ROTATE_INDEX_KEY: &str = "\
The old key opens nothing in this database afterwards; users keep their keys and rights. A copy of the
files from before still opens with the old key. The items are not encrypted again: see reencrypt.

Example:
  sealvec keygen --out new.key
  sealvec --db db --key-file index.key rotate-index-key notes --new-key-file new.key";

pub(crate) const ROTATE_DATA_KEYS: &str = "\
For after a user's rights were taken back: with a copy of the files and of what the key opened, nothing
of what is written from now on can be read. What is there stays as it is until reencrypt has run. Four
data keys at a time are the most.

Example:
  sealvec --db db --key-file index.key users revoke notes --user-id a11ce000000000000000000000000001
  sealvec --db db --key-file index.key rotate-data-keys notes
  sealvec --db db --key-file index.key reencrypt notes";

pub(crate) const REENCRYPT: &str = "\
Reads and writes may go on meanwhile in the library; here the program is the one that writes. An
interrupted run is continued by running it again. At the end the older data keys are out of use and no
file holds what was under them. With one data key in use there is nothing to do.

Example:
  sealvec --db db --key-file index.key reencrypt notes --rate 5000 --output json";

pub(crate) const PURGE: &str = "\
Deleted and overwritten items stay in the files, as ciphertext, until the files are rewritten. This
rewrites all but the vectors, contents and metadata themselves: what is left of those does not open
without what is removed, whoever has the keys. With --payload they go too. It needs the write right.
Copies of the database are not reached; the receipt names the checkpoints that are known.

Example:
  sealvec --db db --key-file index.key purge notes --output json";
