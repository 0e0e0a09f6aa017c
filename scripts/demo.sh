#!/usr/bin/env bash
# The main job on real data: an encrypted index, its search, what the disk gives
# away, and two users with keys and permissions of their own.
#
# Takes the program from $SEALVEC, else target/release/sealvec. Works in a fresh
# folder, removed at the end unless KEEP=1. Every expectation is checked; the
# first that fails ends the demo with exit code 1.
#
# A && B || fail is meant as it reads: fail unless both hold.
# shellcheck disable=SC2015
set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
sealvec=${SEALVEC:-$root/target/release/sealvec}
if [ ! -x "$sealvec" ] || [ -d "$sealvec" ]; then
    echo "demo: no program at $sealvec; run: make demo" >&2
    exit 1
fi
sealvec=$(cd "$(dirname "$sealvec")" && pwd)/$(basename "$sealvec")

# Nothing from the caller's environment may stand in for an option.
for name in $(compgen -e SEALVEC || true); do unset "$name"; done

work=$(mktemp -d "${TMPDIR:-/tmp}/sealvec-demo.XXXXXX")
cleanup() {
    if [ "${KEEP:-}" = 1 ]; then
        echo "kept: $work"
    else
        rm -rf "$work"
    fi
}
trap cleanup EXIT
trap 'echo "demo FAILED at line $LINENO" >&2' ERR
cd "$work"
ln -s "$root/data" data

# Two users, 32 hex digits each.
reader=a11ce000000000000000000000000001
writer=b0b00000000000000000000000000002

# The neighbourhood the demo looks at.
liked=noun-01884476 # thylacine
first=noun-01884834 # Tasmanian devil, its nearest neighbour
second=noun-01881171 # phalanger, the next

checks=0
step() { printf '\n== %s\n' "$*"; }
ok() {
    checks=$((checks + 1))
    printf '   ok: %s\n' "$*"
}
fail() {
    printf 'demo FAILED: %s\n' "$*" >&2
    for file in out err; do
        if [ -s "$file" ]; then
            echo "--- std$file of the last command ---" >&2
            sed -n 1,20p "$file" >&2
        fi
    done
    exit 1
}

# run CODE ARGUMENT...: shows the command, runs it, keeps its output in the
# files out and err, and fails unless it exits with CODE.
run() {
    local expected=$1 code=0
    shift
    printf '%s' '$ sealvec'
    printf ' %s' "$@"
    printf '\n'
    "$sealvec" "$@" >out 2>err </dev/null || code=$?
    [ "$code" -eq "$expected" ] || fail "exit code $code, expected $expected"
}
show() { sed -n "1,${1:-20}p" out | cut -c1-"${COLUMNS:-150}"; }
has() { grep -q -E -e "$1" out; }
# How many lines of the files under PATH hold one of the strings in FILE.
raw_lines() { # FILE PATH
    # The count is 0, and grep's exit code 1, where nothing is found.
    { LC_ALL=C grep -r -a -h -F -f "$1" -- "$2" || [ $? -eq 1 ]; } | wc -l | tr -d ' '
}

step "Keys: one for the index, one for each of two users"
for name in index reader writer; do
    run 0 keygen --out "$name.key"
    [ "$(wc -c <"$name.key" | tr -d ' ')" -eq 65 ] && grep -q -x -E '[0-9a-f]{64}' "$name.key" ||
        fail "$name.key is not 64 hex digits and a newline"
    case $(ls -l "$name.key") in
    -rw-------*) ;;
    *) fail "$name.key is readable by others" ;;
    esac
done
[ "$(sort -u index.key reader.key writer.key | wc -l | tr -d ' ')" -eq 3 ] || fail "keys repeat"
ok "three keys of 64 hex digits, for their owner's eyes only (mode 0600)"

owner=(--db db --key-file index.key)
as_reader=(--db db --user-id "$reader" --key-file reader.key)
as_writer=(--db db --user-id "$writer" --key-file writer.key)

step "An index of 5,000 WordNet synsets"
run 0 "${owner[@]}" create wordnet --dimension 384 --metric cosine
run 0 "${owner[@]}" import wordnet --vectors data/wordnet-5k.f16.npy --items data/wordnet-5k.items.jsonl
show
run 0 "${owner[@]}" stats wordnet
show
has '(^|[^0-9])5,?000([^0-9]|$)' || fail "stats do not show 5000 items"
ok "5,000 items are in"

step "Search: 50 query vectors, the 3 nearest each"
run 0 "${owner[@]}" query wordnet --vectors data/wordnet-queries-50.f16.npy --top-k 3 --output json
show 2
echo "..."
[ "$(wc -l <out | tr -d ' ')" -eq 50 ] || fail "expected 50 lines"
[ "$(grep -o '"distance"' out | wc -l | tr -d ' ')" -eq 150 ] || fail "expected 150 hits"
# The exact nearest neighbours of the first two queries.
sed -n 1p out | grep -q -E '"query": ?0.*"hits": ?\[\{[^}]*"noun-12166312"' || fail "wrong nearest neighbour for query 0"
sed -n 2p out | grep -q -E '"query": ?1.*"hits": ?\[\{[^}]*"noun-06161718"' || fail "wrong nearest neighbour for query 1"
ok "50 answers of 3 hits; the first two begin with the true nearest neighbour"

step "More like $liked, the thylacine"
run 0 "${owner[@]}" query wordnet --like "$liked" --top-k 5 --include contents --output table
show
has "$first" && has "$second" || fail "its nearest neighbours $first and $second are missing"
ok "the Tasmanian devil and the phalanger are among its neighbours"

step "What the disk gives away: all 5,000 ids and some words, searched for in the raw files"
sed -n 's/^{"id": "\([^"]*\)".*/\1/p' data/wordnet-5k.items.jsonl >ids
: >out
: >err
printf '%s\n' thylacine affenpinscher Tasmanian Sarcophilus phalanger >words
for list in ids words; do
    # shellcheck disable=SC2016
    echo '$ grep -r -a -F -f '"$list"' data/wordnet-5k.items.jsonl | wc -l'
    plain=$(raw_lines "$list" data/wordnet-5k.items.jsonl)
    echo "$plain"
    # shellcheck disable=SC2016
    echo '$ grep -r -a -F -f '"$list"' db | wc -l'
    sealed=$(raw_lines "$list" db)
    echo "$sealed"
    case $list in
    ids) [ "$plain" -eq 5000 ] || fail "the control found $plain of 5000 ids" ;;
    *) [ "$plain" -ge 4 ] || fail "the control found $plain lines" ;;
    esac
    [ "$sealed" -eq 0 ] || fail "the database shows $list in plain"
done
[ -n "$(find db -type f -size +0 | sed -n 1p)" ] || fail "the database folder is empty"
[ "$(du -sk db | cut -f1)" -ge 1000 ] || fail "the database folder is too small to hold 5,000 vectors"
ok "the same search finds them in the source file and nothing in the database"

step "Two users: one may read, one may read and write"
run 0 "${owner[@]}" users grant wordnet --user-id "$reader" --user-key-file reader.key --permissions read
run 0 "${owner[@]}" users grant wordnet --user-id "$writer" --user-key-file writer.key --permissions read,write
run 0 "${owner[@]}" users list wordnet
show
has "$reader" && has "$writer" || fail "a user is missing in the list"
ok "both are listed"

step "The reader searches with the reader's own key"
run 0 "${as_reader[@]}" query wordnet --like "$liked" --top-k 5 --output json
show
has "$first" && has "$second" || fail "the reader does not see $first and $second"
ok "the reader sees both neighbours"

step "The reader may not delete"
run 3 "${as_reader[@]}" delete wordnet "$first" "$second" --output json
sed -n 1,3p err
echo "exit code 3"
run 0 "${owner[@]}" get wordnet "$first" "$second" --output json
[ "$(grep -c -E '"found": ?true' out)" -eq 2 ] || fail "an item is gone after a refused delete"
ok "refused, and both items are still there"

step "The writer deletes the two"
run 0 "${as_writer[@]}" stats wordnet --output json
etag=$(sed -n 's/.*"etag": *"\([0-9a-f]*\)".*/\1/p' out)
[ -n "$etag" ] || fail "stats shows no etag"
run 0 "${as_writer[@]}" delete wordnet "$first" "$second" --output json
show
has '"deleted": ?2[,}]' && has '"missing": ?0[,}]' && has '"item_count": ?4998[,}]' || fail "wrong report"
has '"etag": ?"[0-9a-f]+"' || fail "no etag in the report"
ok "2 deleted, none missing, 4,998 left"

step "A delete that is based on what was there before is refused"
run 5 "${as_writer[@]}" delete wordnet "$liked" --if-match "$etag" --output json
sed -n 1,3p err
echo "exit code 5"
ok "the ETag is that of before the delete, so nothing was deleted"

step "They are gone"
run 0 "${owner[@]}" get wordnet "$first" "$second" --output json
show
[ "$(grep -c -E '"found": ?false' out)" -eq 2 ] || fail "an item is still found"
run 0 "${as_reader[@]}" query wordnet --like "$liked" --top-k 5 --output json
show
if has "$first" || has "$second"; then fail "a deleted item is among the hits"; fi
[ "$(grep -o '"distance"' out | wc -l | tr -d ' ')" -ge 4 ] || fail "too few hits after the delete"
ok "neither get nor the reader's search returns them"

step "A purge: no file holds what would be needed to read them"
run 0 "${as_writer[@]}" purge wordnet --output json
show
has '"payload_remains": ?(true|false)' || fail "no receipt"
ok "the receipt says what was done and why what is left cannot be read"

step "The history: who changed how much, signed"
run 0 "${owner[@]}" history wordnet --limit 2 --output json
show
has '"operation": ?"delete"' && has '"deleted": ?2[,}]' || fail "the delete is not in the history"
ok "the delete of two is the last change, under the writer's id"

step "The reader is revoked"
run 0 "${owner[@]}" users revoke wordnet --user-id "$reader"
run 3 "${as_reader[@]}" query wordnet --like "$liked" --top-k 5 --output json
sed -n 1,3p err
echo "exit code 3"
[ ! -s out ] || fail "a revoked user was given an answer"
run 0 "${as_writer[@]}" query wordnet --like "$liked" --top-k 5 --output json
ok "the reader's next query is refused; the writer's is not"

printf '\ndemo: all %d checks passed: 5,000 sealed vectors searched, 2 deleted by their writer, 1 reader revoked.\n' "$checks"
