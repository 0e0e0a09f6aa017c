use sealvec::*;
#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("db"), Options::new()).unwrap();
    let key = IndexKey::from_bytes(&[7; 32]).unwrap();
    db.create_index("x", &key, IndexConfig::new(Metric::Cosine)).unwrap();
    let index = db.load_index("x", KeyContext::root(key)).unwrap();
    let items: Vec<Item> = (0..3000)
        .map(|i| Item::new(format!("id{i}"), vec![i as f32, 1.0, 2.0]).contents(format!("c{i}")))
        .collect();
    let t = std::time::Instant::now();
    let r = index.upsert(&items).unwrap();
    println!("{:?} {r:?}", t.elapsed());
    let hits = index.query(&[5.0, 1.0, 2.0]).top_k(3).include(Include::ALL).run().unwrap();
    println!("{hits:?}");
    println!("{:?}", index.list_ids(5, None).unwrap());
    println!("{:?}", index.delete(&["id5", "nope"]).unwrap());
    println!("{:?}", index.get(&["id5", "id6"], Include::ALL).unwrap());
    let uk = UserKey::generate().unwrap();
    let u = UserId::from_bytes(&[1; 16]).unwrap();
    index.grant(u, &uk, Permissions::READ).unwrap();
    let ctx = KeyContext::user(u, uk);
    println!("{:?}", index.with_key(&ctx).delete(&["id6"]));
    println!("{:?}", index.with_key(&ctx).count());
    println!("{:?}", index.users());
    println!("{:?}", index.revoke(u));
    println!("{:?}", index.with_key(&ctx).count());
    db.delete_index("x", &KeyContext::root(IndexKey::from_bytes(&[7; 32]).unwrap())).unwrap();
    println!("{:?}", index.count());
    db.close().unwrap();
}
