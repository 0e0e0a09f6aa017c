//! Nodes, commits, grant tables and wraps as a reader can make them.

use super::*;
use crate::store::record::{Sealing, seal_node};
use crate::tree::node::Node;

pub(super) fn nodes(world: &World, reader: &Session, cases: &mut Cases<'_>) {
    let secret = reader.current_secret().unwrap();
    for (place, _) in world.store.under(Family::Nodes, &key::nodes(world.index)) {
        let (id, part) = key::node_of(&place).unwrap();
        if part > 0 {
            continue;
        }
        let (node, sealing) = world.open_node(id);
        let mut forgeries = vec![node.encode().unwrap()];
        if let Node::Leaf(mut leaf) = node {
            let item = leaf.rows[0].pseudonym;
            leaf.take(&item, None).unwrap();
            forgeries.push(Node::Leaf(leaf).encode().unwrap());
        }
        for (codes, rows) in forgeries {
            let sealing = Sealing { salt: crate::crypto::random().unwrap(), ..sealing };
            let values = seal_node(secret, world.index, id, &sealing, &codes, &rows, 4096).unwrap();
            let parts = (0u32..).zip(values);
            let forged = parts.map(|(part, value)| {
                Change::Put(Family::Nodes, key::node(world.index, id, part), value)
            });
            cases.case("a node sealed again", forged.collect());
        }
    }
}

pub(super) fn commits_and_tables(world: &World, reader: &Session, cases: &mut Cases<'_>) {
    let secret = reader.current_secret().unwrap();
    let own = KeyPair::random().unwrap();
    let salt = || -> Salt { crate::crypto::random().unwrap() };
    let head = &reader.head.commit;
    let forgeries: [fn(&mut Commit); 6] = [
        |commit| commit.updated += 1,
        |commit| commit.time += 1,
        |commit| commit.principal = Some(UserId([1; 16])),
        |commit| commit.total_bytes += 1,
        |commit| commit.set_hash[0] ^= 1,
        |commit| commit.item_count += 1,
    ];
    for sequence in head.folded + 1..=head.sequence {
        let honest = world.commit(reader, sequence);
        for forge in forgeries {
            let mut commit = honest.head.commit.clone();
            forge(&mut commit);
            let hers = own.sign(Signed::Commit, &commit.encode()).unwrap();
            for signature in [honest.signature, hers, [0; SIGNATURE]] {
                let value = commit::seal_raw(&commit, &signature, secret, &salt());
                let place = key::commit(world.index, sequence);
                let forged = vec![Change::Put(Family::Catalog, place, value)];
                cases.case("a commit changed", forged);
            }
        }
    }
    // One more, and the head behind.
    let next = world.next(reader);
    let signature = own.sign(Signed::Commit, &next.encode()).unwrap();
    let value = commit::seal_raw(&next, &signature, secret, &salt());
    let place = key::commit(world.index, next.sequence);
    cases.case(
        "a commit too many",
        vec![Change::Put(Family::Catalog, place.clone(), value.clone())],
    );
    let ahead = commit::head_value(next.sequence);
    let mut forged = vec![Change::Put(Family::Catalog, place, value)];
    forged.push(Change::Put(Family::Catalog, key::head(world.index), ahead));
    cases.case("a commit of hers", forged);
    for back in 1..4 {
        let stop = head.sequence - back;
        let mut cut =
            vec![Change::Put(Family::Catalog, key::head(world.index), commit::head_value(stop))];
        cases.case("the head put back", cut.clone());
        let later = stop + 1..=head.sequence;
        cut.extend(later.map(|n| Change::Delete(Family::Catalog, key::commit(world.index, n))));
        cases.case("the head put back, and later commits gone", cut);
    }
    let oldest = world.commit(reader, head.folded + 1).head.commit.table;
    for number in oldest..=head.table {
        let honest =
            table::read(&*world.store.snapshot(), &reader.epochs, world.index, number).unwrap();
        let mut table = honest.table.clone();
        table.principals[1].permissions = Permissions::READ_WRITE;
        table.config.retention += 1;
        let hers = own.sign(Signed::Table, &table.hash()).unwrap();
        for signature in [world.signature_of(reader, number), hers] {
            let signed = TableSignature { hash: table.hash(), signature };
            let parts = table.seal_raw(&signed, secret, &[salt(), salt()], 4096).into_iter();
            let forged = parts.map(|(key, value)| Change::Put(Family::Catalog, key, value));
            cases.case("a table changed", forged.collect());
        }
    }
}

/// What a user makes of the wrap that is her own.
pub(super) fn wraps(world: &World, reader: &Session, cases: &mut Cases<'_>) {
    let own = KeyPair::random().unwrap();
    let (locator, index) = (reader.prk.locator(), world.index);
    let secrets = || wrap::Secrets {
        epochs: reader.secrets.epochs.iter().map(|(e, s)| (*e, Secret::new(*s.expose()))).collect(),
        name: Secret::new(*reader.secrets.name.expose()),
        root_verify: reader.secrets.root_verify,
    };
    let (permissions, grant) = (Permissions::READ, reader.grant);
    let header = wrap::Header { index, locator, right: Right::Read, permissions, grant };
    let place = key::wrap(index, locator, Right::Read);
    let mut case = |what: &str, header: &wrap::Header, secrets: &wrap::Secrets| {
        let writer = (header.right == Right::Write).then_some(&own);
        let sealed = wrap::seal(&reader.prk, header, secrets, writer).unwrap();
        let key = key::wrap(index, locator, header.right);
        cases.case(what, vec![Change::Put(Family::Catalog, key, sealed)]);
    };
    let more = wrap::Header { permissions: Permissions::READ_WRITE, ..header };
    case("more rights", &more, &secrets());
    case("a write wrap", &wrap::Header { right: Right::Write, ..header }, &secrets());
    case("a write wrap, more rights", &wrap::Header { right: Right::Write, ..more }, &secrets());
    case("another grant", &wrap::Header { grant: grant + 1, ..header }, &secrets());
    case("another root", &header, &wrap::Secrets { root_verify: *own.public(), ..secrets() });
    case("another name", &header, &wrap::Secrets { name: Secret::new([9; 32]), ..secrets() });
    let mut other = secrets();
    other.epochs.push((0, Secret::new([9; 32])));
    case("another epoch", &header, &other);
    // The control: what she seals again as it was is as good as before.
    let sealed = wrap::seal(&reader.prk, &header, &secrets(), None).unwrap();
    let honest = world.store.get(Family::Catalog, &place).unwrap();
    world.store.put(Family::Catalog, &place, &sealed);
    world.sound();
    world.store.put(Family::Catalog, &place, &honest);
}
