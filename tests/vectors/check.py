#!/usr/bin/env python3
"""Derives and opens everything in golden.txt from the written format, without the library's code.

Needs Python 3.9 and the package `cryptography` (AES-256-GCM and Ed25519 only); HKDF and HMAC are
spelled out on hashlib, and BLAKE3 is at the end of this file. Exit status 0: every line of the file
was checked and holds.

    python3 tests/vectors/check.py
"""

import hashlib
import hmac
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def read_lines(path):
    values = {}
    for line in path.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition(" = ")
            assert name not in values, name
            values[name] = bytes.fromhex(value)
    return values


FILE = read_lines(pathlib.Path(__file__).with_name("golden.txt"))
CHECKED = set()


def given(name):
    """An input: taken as it is."""
    CHECKED.add(name)
    return FILE[name]


def check(name, found):
    """A result: what was derived here must be what the file says."""
    assert FILE[name] == found, f"{name}\n file {FILE[name].hex()}\n here {found.hex()}"
    CHECKED.add(name)


def u8(n):
    return struct.pack(">B", n)


def u16(n):
    return struct.pack(">H", n)


def u32(n):
    return struct.pack(">I", n)


def u64(n):
    return struct.pack(">Q", n)


def ramp(first, count):
    return bytes((first + i) % 256 for i in range(count))


# --- HKDF-SHA256 (RFC 5869) and the labels ---------------------------------------------------

def label(text):
    return b"sealvec/1/" + text.encode() + b"\0"


def extract(salt, key):
    return hmac.new(salt, key, hashlib.sha256).digest()


def expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out, counter = out + block, counter + 1
    return out[:length]


def pseudonymous(key, name, text):
    return hmac.new(key, label(name) + u32(len(text)) + text, hashlib.sha256).digest()[:16]


def committed(prk, name, header, salt):
    both = expand(prk, label(name) + header + salt, 64)
    return both[:32], both[32:]


def place(kind, logical_id, version, epoch=2, form=1):
    return u8(form) + INDEX + u32(epoch) + u8(kind) + logical_id + u64(version)


def single_use(purpose, at, salt):
    return expand(READ_SECRET, label(purpose) + at + salt, 32)


def nonce(field, part, last):
    return u8(field) + u32(part) + u8(last) + bytes(6)


WHOLE = bytes(12)


def open_whole(key, aad, sealed):
    return AESGCM(key).decrypt(WHOLE, sealed, aad)


def open_parts(key, field, aad, prefix, values):
    plain = b""
    for part, value in enumerate(values):
        assert value.startswith(prefix)
        last = part + 1 == len(values)
        plain += AESGCM(key).decrypt(nonce(field, part, last), value[len(prefix):], aad)
    return plain


def parts(name):
    found = []
    while f"{name}.{len(found)}" in FILE:
        found.append(given(f"{name}.{len(found)}"))
    return found


def key(kind, *rest):
    return INDEX + u8(kind) + b"".join(rest)


INDEX = given("input.index_id")
USER = given("input.user_id")
READ_SECRET = given("input.read_secret.2")
OLD_READ_SECRET = given("input.read_secret.1")
NAME_SECRET = given("input.name_secret")
SALT = given("input.salt")
ITEM_ID = given("input.item_id")
INDEX_NAME = given("input.index_name")
VECTOR = given("input.vector")
WRITER = Ed25519PrivateKey.from_private_bytes(given("input.writer_seed"))
assert VECTOR == struct.pack("<3f", 0.5, -1.25, 3.0)


def public(private):
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def main():
    # Derivations.
    root_prk = extract(label("extract/root") + INDEX, given("input.index_key"))
    user_prk = extract(label("extract/user") + INDEX + USER, given("input.user_key"))
    root_locator = expand(root_prk, label("locator"), 16)
    locator = expand(user_prk, label("locator"), 16)
    check("root_prk", root_prk)
    check("user_prk", user_prk)
    check("root_locator", root_locator)
    check("user_locator", locator)

    def wrap_header(right):
        return u8(1) + INDEX + locator + u8(right) + u8(3) + u64(5)

    check("wrap_header", wrap_header(1))
    wrap_key, commitment = committed(user_prk, "wrap", wrap_header(1), SALT)
    check("wrap_key", wrap_key)
    check("wrap_commitment", commitment)
    root_seed = expand(root_prk, label("root-sign"), 32)
    root_signer = Ed25519PrivateKey.from_private_bytes(root_seed)
    check("root_sign_seed", root_seed)
    check("root_sign_public", public(root_signer))
    roster_place = expand(root_prk, label("roster-place") + USER, 16)
    check("roster_place", roster_place)
    roster_header = u8(1) + INDEX + roster_place
    roster_key, commitment = committed(root_prk, "roster", roster_header, SALT)
    check("roster_key", roster_key)
    check("roster_commitment", commitment)
    pseudonym = pseudonymous(NAME_SECRET, "pseudonym", ITEM_ID)
    db_salt = given("input.db_salt")
    name_place = pseudonymous(db_salt, "name", INDEX_NAME)
    check("pseudonym", pseudonym)
    check("name_place", name_place)
    at = place(0x20, pseudonym, 258)
    check("place", at)
    for purpose in ["record", "payload", "commit", "table"]:
        check(f"single_use.{purpose}", single_use(purpose, at, SALT))
    check("cursor_key", expand(READ_SECRET, label("cursor") + INDEX + SALT, 32))
    check("commit_hash.abc", hashlib.sha256(label("commit-hash") + b"abc").digest())
    check("fold_hash.abc", hashlib.sha256(label("fold-hash") + b"abc").digest())
    check("table_hash.abc", hashlib.sha256(label("table-hash") + b"abc").digest())

    # Wraps and roster: header | salt | commitment | sealed.
    secrets = u8(2) + u32(2) + READ_SECRET + u32(1) + OLD_READ_SECRET + NAME_SECRET
    secrets += public(root_signer)
    seed = given("input.writer_seed")
    for name, right, salt, plain in [
        ("wrap.read", 1, ramp(0x01, 24), secrets),
        ("wrap.write", 2, ramp(0x02, 24), secrets + seed + public(WRITER)),
    ]:
        stored = given(name)
        wrap_key, commitment = committed(user_prk, "wrap", wrap_header(right), salt)
        assert stored[:67] == u8(1) + u8(right) + u8(3) + u64(5) + salt + commitment, name
        assert open_whole(wrap_key, wrap_header(right), stored[67:]) == plain, name
        check(f"{name}.key", key(0x13, locator, u8(right)))
    stored, salt = given("roster"), ramp(0x03, 24)
    roster_key, commitment = committed(root_prk, "roster", roster_header, salt)
    assert stored[:57] == u8(1) + salt + commitment
    assert open_whole(roster_key, roster_header, stored[57:]) == USER + locator + user_prk
    check("roster.key", key(0x14, roster_place))

    # Grant table.
    forever = 2**64 - 1
    body = u8(4) + INDEX + u64(5) + u16(len(INDEX_NAME)) + INDEX_NAME
    body += u32(3) + u8(2) + u8(1) + u64(100_000) + u8(1)
    body += u8(1) + u16(2) + u16(3) + b"a.b" + u8(2) + u16(5) + b"notes" + u8(0)
    body += u8(2) + u32(2) + u32(1) + u32(2)
    body += u8(0) + bytes(16) + root_locator + u8(7) + u64(1)
    body += u8(1) + public(WRITER) + u64(1) + u64(forever)
    body += u8(1) + USER + locator + u8(1) + u64(5) + u8(0) + bytes(32) + u64(9) + u64(10)
    check("table.body", body)
    table_hash = hashlib.sha256(label("table-hash") + body).digest()
    check("table.hash", table_hash)
    signature = root_signer.sign(label("table-signature") + table_hash)
    check("table.signature", signature)
    check("table.signature.key", key(0x17, u64(5)))
    stored, salt, number = given("table.signature.sealed"), ramp(0x0C, 24), bytes(8) + u64(5)
    at = place(0x17, number, 5)
    assert stored[:37] == u8(1) + u32(2) + u64(5) + salt
    assert open_whole(single_use("table", at, salt), at, stored[37:]) == table_hash + signature
    salt = ramp(0x04, 24)
    at = place(0x12, number, 5, form=4)
    prefix = u8(4) + u32(2) + salt
    values = parts("table.sealed")
    opened = open_parts(single_use("table", at, salt), 4, at, prefix, values)
    assert opened == body
    for part in range(len(values)):
        assert len(values[part]) <= 200
        check(f"table.key.{part}", key(0x12, u64(5), u32(part)))

    # Commit.
    body = u8(5) + INDEX + u64(258) + ramp(0x11, 32) + u64(5) + table_hash + u32(2)
    body += u8(1) + USER + u64(5) + u64(3) + u64(400) + u64(7) + u32(3) + ramp(0x22, 32)
    body += u8(0) + bytes(32) + u8(4) + u64(0) + u64(0) + u64(2)
    body += u8(1) + ramp(0x33, 16) + u64(7) + ramp(0x44, 32)
    body += u64(1_700_000_000_000)
    check("commit.body", body)
    check("commit.hash", hashlib.sha256(label("commit-hash") + body).digest())
    check("commit.writer_public", public(WRITER))
    signature = WRITER.sign(label("commit-signature") + body)
    check("commit.signature", signature)
    check("commit.key", key(0x11, u64(258)))
    stored, salt = given("commit.sealed"), ramp(0x05, 24)
    at = place(0x11, bytes(8) + u64(258), 258, form=5)
    assert stored[:37] == u8(5) + u32(2) + u64(258) + salt
    assert open_whole(single_use("commit", at, salt), at, stored[37:]) == body + signature

    # Fold.
    body = u8(1) + INDEX + u64(7) + ramp(0x55, 32) + u64(2) + u64(300)
    body += u64(9) + u64(1) + u64(7) + u64(1_600_000_000_000) + u64(1_650_000_000_000)
    body += u8(3) + u8(1) + u64(1) + u8(2) + u64(2) + u8(4) + u64(4)
    check("fold.body", body)
    check("fold.hash", hashlib.sha256(label("fold-hash") + body).digest())
    check("fold.key", key(0x16))
    stored, salt = given("fold.sealed"), ramp(0x0B, 24)
    at = place(0x16, bytes(8) + u64(7), 7)
    assert stored[:37] == u8(1) + u32(2) + u64(7) + salt
    assert open_whole(single_use("commit", at, salt), at, stored[37:]) == body

    # Item: payload values, then the record that names them.
    salt = ramp(0x06, 24)
    payload_key = single_use("payload", place(0x50, pseudonym, 258), salt)
    record = u16(len(ITEM_ID)) + ITEM_ID + u64(6) + u64(258) + u32(2) + salt
    record += u8(2) + u64(3) + u64(4)
    for field, kind, name in [(1, 0x50, "vector"), (2, 0x51, "contents"), (3, 0x52, "metadata")]:
        values = parts(f"payload.{name}")
        plain = open_parts(payload_key, field, place(kind, pseudonym, 258), u8(1), values)
        assert plain == given(f"input.{name}"), name
        for part, value in enumerate(values):
            assert len(value) <= 40
            check(f"payload.{name}.key.{part}", key(kind, pseudonym, u32(part)))
        digest = blake3(b"".join(values))
        check(f"payload.{name}.hash", digest)
        record += u8(1) + u32(len(plain)) + u32(len(values)) + digest
    check("item.plain", record)
    check("item.key", key(0x20, pseudonym))
    stored, salt = given("item.sealed"), ramp(0x07, 24)
    at = place(0x20, pseudonym, 258)
    assert stored[:37] == u8(2 if kind == 0x42 else 1) + u32(2) + u64(258) + salt
    assert open_whole(single_use("record", at, salt), at, stored[37:]) == record

    # Set hash: 1,024 big-endian numbers, added modulo 2^16.
    state = add([0] * 1024, element(key(0x20, pseudonym), stored))
    check("set_hash.element_digest", blake3(struct.pack(">1024H", *state)))
    state = add(state, element(key(0x20, ramp(0, 16)), b"value one"))
    state = add(state, element(key(0x20, ramp(1, 16)), b"value two"))
    check("set_hash.digest", blake3(struct.pack(">1024H", *state)))
    check("set_hash.record", u8(1) + struct.pack(">1024H", *state))
    check("set_hash.key", key(0x15))

    # Records in clear.
    check("head.key", key(0x10))
    check("head.record", u8(1) + u64(258))
    check("name.key", bytes(16) + u8(1) + name_place)
    check("name.record", u8(1) + INDEX)
    check("database.key", bytes(17))
    check("database.record", b"sealvec" + u8(8) + db_salt)

    owed = u8(0) + u64(0) + u64(0) + u8(2) + u64(1000) + u64(258) + u8(1) + u64(2000) + u64(259)
    check("purge_owed.key", bytes(16) + u8(2) + INDEX)
    check("purge_owed.record", u8(1) + owed)
    path = b"/copy"
    check("checkpoint.key", bytes(16) + u8(3) + u64(3))
    check("checkpoint.record", u8(1) + u64(3000) + u16(len(path)) + path)

    nodes()
    attributes()

    left = sorted(set(FILE) - CHECKED)
    assert not left, f"in golden.txt but not checked here: {left}"
    print(f"{len(CHECKED)} lines of golden.txt hold")


# --- The partition tree ----------------------------------------------------------------------

def floats(values):
    return b"".join(struct.pack("<f", value) for value in values)


def single(value):
    """Rounds to f32."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def rotated(seed, vector):
    size = -(-len(vector) // 64) * 64
    window = 1 << (size.bit_length() - 1)
    rounds = 3 if window == size else 4
    stream = blake3(b"sealvec rotation 1", length=rounds * size // 8, key=seed)
    half = single(0.5 ** 0.5)
    scale = 0.5 ** (window.bit_length() // 2 if window.bit_length() % 2 else (window.bit_length() - 2) // 2)
    if window.bit_length() % 2 == 0:
        scale = single(scale * half)
    x = list(vector) + [0.0] * (size - len(vector))
    for number in range(rounds):
        first = 0 if number % 2 == 0 else size - window
        for i in range(size):
            bit = number * size + i
            sign = -1.0 if stream[bit // 8] >> bit % 8 & 1 else 1.0
            x[i] = single(x[i] * sign * (scale if first <= i < first + window else 1.0))
        apart = 1
        while apart < window:
            for i in range(first, first + window):
                if not (i - first) & apart:
                    a, b = x[i], x[i + apart]
                    x[i], x[i + apart] = single(a + b), single(a - b)
            apart *= 2
        if window < size:
            for i in range(size // 2):
                a, b = x[i], x[i + size // 2]
                x[i] = single(single(a + b) * half)
                x[i + size // 2] = single(single(a - b) * half)
    return floats(x)


def packed(bits, values):
    """Blocks of 64 components; byte j of a block holds those of the table in docs/format.md."""
    out = b""
    for start in range(0, len(values), 64):
        block = values[start:start + 64]
        for j in range(8 * bits):
            if bits == 1:
                held = block[8 * j:8 * j + 8]
            else:
                held = block[j::8 * bits]
            out += u8(sum((value & (1 << bits) - 1) << bits * n for n, value in enumerate(held)))
    return out


def centroid(first):
    return bytes(1 + (7 * i + first) % 255 for i in range(128))


def first_bits(count):
    return ((1 << count) - 1).to_bytes(512, "little")


def planes(width, numbers):
    """Bit 0 of every number, bit 1 of every number, and so on."""
    bits = [sum((number >> bit & 1) << at for at, number in enumerate(numbers)) for bit in range(width)]
    return b"".join(plane.to_bytes(512, "little") for plane in bits)


def ordered(number):
    """The bits of a float, so that greater floats are greater integers."""
    bits = int.from_bytes(struct.pack(">d", number), "big")
    return bits ^ (2**64 - 1 if bits >> 63 else 2**63)


def attributes():
    path = u32(3) + b"a.b"
    words = [
        path + b"sen",
        path + b"i" + (7).to_bytes(16, "big"),
        path + b"r" + struct.pack(">d", 0.5),
        path + b"b\x01",
        path,
    ]
    for number, word in enumerate(words):
        check(f"word.{number}", word)
    places = [pseudonymous(NAME_SECRET, "attribute-place", word) for word in (words[0], words[4])]
    check("word.place", places[0])
    check("field.place", places[1])
    bitmap = u64(2**64 - 1) + u64(1) + bytes(62 * 8)
    for first, name, kind, logical, number, content in [
        (0x0D, "posting", 0x40, places[0], 3, u16(2) + u16(2) + u16(4095) + bytes(4)),
        (0x0E, "bitmap", 0x40, places[0], 4, u16(65) + bitmap),
        (0x0F, "directory", 0x41, bytes(8) + u64(5), 5, bytes(16) + ramp(0x70, 16) + bytes(62 * 16)),
        (0x10, "column", 0x42, places[1], 6, u16(1) + u16(1) + struct.pack(">dd", -1.5, 2.25) + bytes(7 * 18)),
        (0x11, "narrow", 0x42, places[1], 7, u16(1945) + first_bits(1945) + u8(0) + u8(16) + struct.pack(">d", -5)
            + planes(16, [13 * item for item in range(1945)])),
        (0x12, "two", 0x42, places[1], 8, u16(257) + first_bits(257) + u8(1) + u8(24) + struct.pack(">d", -5)
            + planes(24, [0] * 257) + planes(24, [70005] * 257)),
        (0x13, "float", 0x42, places[1], 9, u16(300) + first_bits(300) + u8(0) + u8(64) + bytes(8)
            + planes(64, [ordered(item / 4 - 20) for item in range(300)])),
    ]:
        plain = u64(number) + content
        check(f"attribute.{name}.plain", plain)
        form = 4 if kind == 0x42 else 1
        salt, at = ramp(first, 24), place(kind, logical, 258, form=form)
        stored = given(f"attribute.{name}")
        assert stored[:37] == u8(form) + u32(2) + u64(258) + salt
        assert open_whole(single_use("attribute", at, salt), at, stored[37:]) == plain, name
        block = u64(number) if kind == 0x41 else logical + u64(number)
        check(f"attribute.{name}.key", key(kind, block))


def nodes():
    seed = hmac.new(NAME_SECRET, label("rotation"), hashlib.sha256).digest()
    check("rotation_seed", seed)
    check("fingerprint", expand(READ_SECRET, label("cache") + INDEX, 16))
    check("rotated.3", rotated(seed, [0.5, -1.25, 3.0]))
    check("rotated.130", rotated(seed, [(i % 7 - 3) / 4 for i in range(130)]))
    for bits in [1, 2, 4, 8]:
        check(f"code.{bits}", packed(bits, [i * 3 // 2 for i in range(128)]))

    codes = leaf_head(2, 1) + arrays([0, 1])
    rows = leaf_rows({0: 0, 1: 1})
    check("leaf.codes", codes)
    check("leaf.rows", rows)
    branch = u8(1) + u8(8) + u64(0) + ramp(0x90, 16) + floats([0.5]) + u16(128) + u32(3) + u32(0) + floats([0.0625]) + centroid(9)
    children = [258, 4, 5]
    branch += b"".join(u64(child) for child in children) + floats([0.5] * 3)
    squares = [sum((0.5 * (byte - 128)) ** 2 for byte in centroid(child)) for child in children]
    branch += floats(squares) + floats([3.0, float("inf"), 0.0])
    branch += b"".join(centroid(child) for child in children)
    check("branch.codes", branch)

    at = place(0x30, bytes(8) + u64(258), 258, form=4)
    check("node.place", at)
    check("single_use.node", single_use("node", at, SALT))
    long = bytes(i % 251 for i in range(2100))
    for name, node, salt, codes, rows, limit in [
        ("leaf", 258, ramp(0x08, 24), codes, rows, 65536),
        ("branch", 3, ramp(0x09, 24), branch, b"", 65536),
        ("cut", 7, ramp(0x0A, 24), codes, long, 700),
    ]:
        values = parts(f"node.{name}")
        for part, value in enumerate(values):
            assert value[0] == 4 and len(value) <= limit
            assert part + 1 == len(values) or len(value) == limit
            check(f"node.{name}.key.{part}", key(0x30, u64(node), u32(part)))
        at = place(0x30, bytes(8) + u64(node), 258, form=4)
        lengths = u32(len(codes)) + u32(len(rows))
        whole = values[0] + b"".join(value[1:] for value in values[1:])
        assert whole[:47] == u8(4) + u16(len(values)) + u32(2) + u64(258) + salt + lengths
        cipher, aad = AESGCM(single_use("node", at, salt)), at + u16(len(values)) + lengths
        end = 47 + len(codes) + 16
        assert cipher.decrypt(nonce(1, 0, True), whole[47:end], aad) == codes
        opened, count = b"", -(-len(rows) // 544)
        for part in range(count):
            last = part + 1 == count
            start, end = end, end + (len(rows) - 544 * part if last else 544) + 16
            opened += cipher.decrypt(nonce(2, part, last), whole[start:end], aad)
        assert opened == rows and end == len(whole), name
    deltas()


def leaf_head(count, firsts):
    head = u8(0) + u8(2) + u64(3) + bytes(16) + floats([0.0]) + u16(128) + u32(count) + u32(firsts)
    return head + floats([0.25]) + centroid(5)


def arrays(numbers):
    """The arrays of a leaf, or of a block of a delta, that has these rows."""
    out = b"".join(packed(2, [i * (3 + n) // 2 for i in range(128)]) for n in numbers)
    out += floats([n + 0.5 for n in numbers]) + floats([-float(n) for n in numbers])
    return out + floats([0.125 for n in numbers]) + b"".join(u32(6 + n) for n in numbers)


def leaf_rows(copies):
    rows = b""
    for n, copy in copies.items():
        rows += ramp(0x70 + n, 16) + u64(6 + n) + u64(258) + u32(2) + u16(1 + n) + u8(copy) + u8(0)
        rows += ramp(0x30 + n, 24) + floats([2.0 + n])
    return rows


def deltas():
    after = u64(258) + ramp(0x08, 24)
    for number, (generation, salt, copies) in enumerate([
        (259, ramp(0x0B, 24), {2: 0}),
        (261, ramp(0x0C, 24), {3: 1, 4: 0}),
    ]):
        firsts = sum(copy == 0 for copy in copies.values())
        block = u16(len(copies)) + u16(firsts) + arrays(list(copies))
        check(f"block.{number}", block)
        rows = leaf_rows(copies)
        lengths = u32(len(block)) + u32(len(rows))
        delta = FILE[f"delta.{number}"]
        assert delta[:44] == u32(2) + u64(generation) + salt + lengths
        at = place(0x30, bytes(8) + u64(258), generation, form=4)
        aad = at + u16(number) + after + lengths
        cipher = AESGCM(single_use("node", at, salt))
        assert cipher.decrypt(nonce(3, number, True), delta[44:], aad) == block + rows
        CHECKED.add(f"delta.{number}")
        after = u64(generation) + salt
    check("leaf.folded", leaf_head(5, 3) + arrays([0, 1, 2, 3, 4]))


def element(record_key, value):
    stream = blake3(
        record_key + blake3(value), length=2048, context=b"sealvec/1/set-element"
    )
    return struct.unpack(">1024H", stream)


def add(state, other):
    return [(a + b) % 65536 for a, b in zip(state, other)]


# --- BLAKE3, hash, keyed and derive-key modes, after section 5.1 of its paper ------------------------

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64
MIXES = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]


def compress(chaining, block, counter, length, flags):
    s = chaining + IV[:4] + [counter & 0xFFFFFFFF, counter >> 32, length, flags]
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(MIXES):
            for word, turn_d, turn_b in [(m[2 * i], 16, 12), (m[2 * i + 1], 8, 7)]:
                s[a] = (s[a] + s[b] + word) & 0xFFFFFFFF
                s[d] = turn(s[d] ^ s[a], turn_d)
                s[c] = (s[c] + s[d]) & 0xFFFFFFFF
                s[b] = turn(s[b] ^ s[c], turn_b)
        m = [m[i] for i in PERMUTATION]
    return [s[i] ^ s[i + 8] for i in range(8)] + [s[i + 8] ^ chaining[i] for i in range(8)]


def turn(word, by):
    return (word >> by | word << (32 - by)) & 0xFFFFFFFF


def tree(key_words, data, counter, mode):
    """The last compression of a subtree, not yet done: (chaining, block, counter, length, flags)."""
    if len(data) <= 1024:
        blocks = [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
        chaining = key_words
        for i, block in enumerate(blocks):
            flags = mode | (CHUNK_START if i == 0 else 0)
            if i + 1 == len(blocks):
                return chaining, block, counter, len(block), flags | CHUNK_END
            chaining = compress(chaining, block, counter, 64, flags)[:8]
    chunks = (len(data) - 1) // 1024
    left = 1024 << (chunks.bit_length() - 1)
    sides = [(data[:left], counter), (data[left:], counter + left // 1024)]
    words = [w for side, n in sides for w in compress(*tree(key_words, side, n, mode))[:8]]
    return key_words, struct.pack("<16I", *words), 0, 64, mode | PARENT


def blake3(data, length=32, context=None, key=None):
    key_words, mode = IV, 0
    if key is not None:
        key_words, mode = list(struct.unpack("<8I", key)), KEYED
    if context is not None:
        derived = squeeze(tree(IV, context, 0, CONTEXT), 32)
        key_words, mode = list(struct.unpack("<8I", derived)), MATERIAL
    return squeeze(tree(key_words, data, 0, mode), length)


def squeeze(last, length):
    chaining, block, _, size, flags = last
    out = b""
    while len(out) < length:
        words = compress(chaining, block, len(out) // 64, size, flags | ROOT)
        out += struct.pack("<16I", *words)
    return out[:length]


assert blake3(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"

if __name__ == "__main__":
    sys.exit(main())
