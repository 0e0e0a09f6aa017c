//! What goes out, caught whole: every span with its fields, and every metric with its labels.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

use crate::observe::{Call, observe};
use crate::*;

/// Keeps all spans: name, fields, whether it was closed.
#[derive(Clone, Default)]
struct Recorder {
    spans: Arc<Mutex<Vec<Caught>>>,
    next: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
struct Caught {
    id: u64,
    name: &'static str,
    fields: Vec<(&'static str, String)>,
    closed: bool,
}

impl Caught {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }
}

impl Visit for Caught {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.push((field.name(), format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), value.to_owned()));
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("sealvec")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let name = attributes.metadata().name();
        let mut caught = Caught { id, name, fields: Vec::new(), closed: false };
        attributes.record(&mut caught);
        self.spans.lock().unwrap().push(caught);
        Id::from_u64(id)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut spans = self.spans.lock().unwrap();
        let span = spans.iter_mut().find(|span| span.id == id.into_u64());
        values.record(span.unwrap());
    }

    fn event(&self, event: &Event<'_>) {
        let mut caught = Caught { id: 0, name: "event", fields: Vec::new(), closed: true };
        event.record(&mut caught);
        self.spans.lock().unwrap().push(caught);
    }

    fn try_close(&self, id: Id) -> bool {
        let mut spans = self.spans.lock().unwrap();
        spans.iter_mut().filter(|span| span.id == id.into_u64()).for_each(|s| s.closed = true);
        true
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A second subscriber, for the life of the process. While `tracing` knows only one, it asks the
/// thread that first makes a span whether that is wanted, for good: another test, which has none.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Recorder::default()));

/// Runs something and returns the spans it made.
fn caught<T>(work: impl FnOnce() -> T) -> (T, Vec<Caught>) {
    LazyLock::force(&SECOND);
    let recorder = Recorder::default();
    let value = tracing::subscriber::with_default(recorder.clone(), work);
    let spans = recorder.spans.lock().unwrap().clone();
    (value, spans)
}

const KEY: [u8; 32] = *b"CANARY-KEY-OF-32-BYTES-000000000";
const NEW_KEY: [u8; 32] = *b"CANARY-KEY-ANOTHER-32-BYTES-0000";
const USER: [u8; 16] = *b"CANARY-USER-0000";
const USER_KEY: [u8; 32] = *b"CANARY-USER-KEY-32-BYTES-0000000";
/// Every one of these is in what the world below is made of, and none may come out.
const CANARIES: [&str; 9] = [
    "canary-index",
    "canary-item",
    "canary-contents",
    "canary-metadata",
    "canary-field",
    "canary-path",
    "0.7548776",
    "43414e415259", // "CANARY" in hexadecimal: keys and user ids
    "67, 65, 78, 65, 82, 89",
];

fn root() -> KeyContext {
    KeyContext::root(IndexKey::from_bytes(&KEY).unwrap())
}

fn item() -> Item {
    Item::new("canary-item", [0.754_877_6, 0.5])
        .contents("canary-contents")
        .metadata(json!({"canary-field": "canary-metadata"}))
}

fn database() -> (Database, Index<'static>) {
    let db = Database::in_memory().unwrap();
    let key = IndexKey::from_bytes(&KEY).unwrap();
    db.create_index("canary-index", &key, IndexConfig::new(Metric::Euclidean)).unwrap();
    let index = db.load_index("canary-index", root()).unwrap();
    (db, index)
}

/// Every call, with what must not come out in every argument that takes it. Good and refused.
fn all_calls() {
    let go_on = ControlFlow::Continue(());
    let (db, index) = database();
    let user = UserId::from_bytes(&USER).unwrap();
    let user_key = || UserKey::from_bytes(&USER_KEY).unwrap();
    let filter = Filter::eq("canary-field", "canary-metadata");
    index.upsert(&[item()]).unwrap();
    index.grant(user, &user_key(), Permissions::READ).unwrap();
    let stranger = KeyContext::root(IndexKey::from_bytes(&[3; 32]).unwrap());
    let reader = KeyContext::user(user, user_key());
    for index in [index.clone(), index.with_key(&stranger), index.with_key(&reader)] {
        let _ = index.describe();
        let _ = index.count();
        let _ = index.count_where(&filter);
        let _ = index.get(&["canary-item"], Include::ALL);
        let _ = index.query(&[0.754_877_6, 0.0]).filter(filter.clone()).run();
        let _ = index.query_metadata(&filter).order_by("canary-field", Order::Ascending).run();
        let _ = index.list_ids(3, None);
        let _ = index.for_each(Include::ALL, |_| go_on);
        let _ = index.history(.., 3);
        let _ = index.for_each_commit(.., |_| go_on);
        let _ = index.verify_tree();
        let _ = index.verify(|_| ControlFlow::Continue(()));
        let _ = index.check(&[item()]);
        let _ = index.upsert(&[item()]);
        let _ = index.bulk_upsert([item()], |_| go_on);
        let _ = index.update("canary-item", Update::new().contents("canary-contents"));
        let _ = index.write_batch(&[item()], &["canary-item-2"], &WriteOptions::new());
        let _ = index.delete_where(&filter, &DeleteOptions::new().dry_run(true));
        let _ = index.delete(&["canary-item-2"]);
        let _ = index.optimize(|_| go_on);
        let _ = index.reencrypt(ReencryptOptions::new(), |_| go_on);
        let _ = index.purge(PurgeScope::Records, PurgeOptions::new());
        let _ = index.users();
    }
    let _ = index.revoke(user);
    let _ = db.open_index("canary-index");
    let _ = db.load_index("canary-index-2", root());
    let _ = db.list_indexes(&root());
    let _ = db.checkpoint("/dev/null/canary-path");
    #[cfg(feature = "rocksdb")]
    let _ = Database::open("/dev/null/canary-path", Options::new());
    #[cfg(feature = "rocksdb")]
    let _ = Database::open_read_only("/dev/null/canary-path", Options::new());
    let _ = db.flush();
    let _ = db.purge_owed();
    let _ = db.rotate_data_keys("canary-index", &root());
    let _ = db.rotate_index_key("canary-index", &root(), &IndexKey::from_bytes(&NEW_KEY).unwrap());
    let _ = db.delete_index("canary-index", &root());
    let _ = db.close();
}

#[test]
fn no_span_has_anything_of_the_data() {
    let ((), spans) = caught(all_calls);
    let all = format!("{spans:?}");
    for canary in CANARIES {
        assert!(!all.to_lowercase().contains(&canary.to_lowercase()), "{canary}");
    }
    assert!(spans.iter().all(|span| span.closed && span.field("outcome").is_some()), "{all}");
    // The check can fail: what is in a field is found.
    let leak = || tracing::info_span!(target: "sealvec", "leak", id = "canary-item");
    let (_, spans) = caught(leak);
    assert!(format!("{spans:?}").contains("canary-item"));
}

#[test]
fn every_call_makes_spans_of_its_name() {
    let ((), spans) = caught(all_calls);
    let disk = [Call::Open, Call::OpenReadOnly];
    let only = |call: &Call| match call {
        // The keeper's own.
        Call::PurgeDue => false,
        call => cfg!(feature = "rocksdb") || !disk.contains(call),
    };
    for call in Call::ALL.iter().filter(|call| only(call)) {
        let name = format!("sealvec.{}", call.as_str());
        let own = spans.iter().find(|span| span.name == name);
        let own = own.unwrap_or_else(|| panic!("no span {name}"));
        assert_eq!(own.field("operation"), Some(call.as_str()));
    }
}

#[test]
fn a_span_counts_what_went_in_and_came_out() {
    let (_db, index) = database();
    let (report, spans) = caught(|| index.upsert(&[item(), Item::new("b", [1.0, 1.0])]).unwrap());
    let [upsert] = &spans[..] else { panic!("{spans:?}") };
    let sequence = report.version.sequence.to_string();
    for (field, value) in [
        ("outcome", "ok"),
        ("items", "2"),
        ("inserted", "2"),
        ("updated", "0"),
        ("deleted", "0"),
        ("sequence", &sequence),
    ] {
        assert_eq!(upsert.field(field), Some(value), "{field}");
    }
    assert!(upsert.field("elapsed_us").is_some());
    let id = index.purge(PurgeScope::Records, PurgeOptions::new()).unwrap().value.index;
    assert_eq!(upsert.field("index"), Some(id.as_str()));

    let (_, spans) = caught(|| index.query(&[0.0, 0.0]).top_k(7).effort(9).run().unwrap());
    let [query] = &spans[..] else { panic!("{spans:?}") };
    for (field, value) in
        [("items", "1"), ("results", "2"), ("top_k", "7"), ("effort", "9"), ("outcome", "ok")]
    {
        assert_eq!(query.field(field), Some(value), "{field}");
    }
    for stage in ["routing_us", "scoring_us", "reranking_us", "finishing_us", "rows", "bytes"] {
        assert!(query.field(stage).is_some(), "{stage}");
    }
}

#[test]
fn what_changes_rights_or_keys_tells_its_commit() {
    type Administer<'a> = &'a dyn Fn() -> VersionToken;
    let (db, index) = database();
    let user_key = UserKey::from_bytes(&[6; 32]).unwrap();
    let (user, key) = (UserId([6; 16]), IndexKey::from_bytes(&NEW_KEY).unwrap());
    let calls: [(&str, Administer<'_>); 5] = [
        ("sealvec.grant", &|| index.grant(user, &user_key, Permissions::READ).unwrap()),
        ("sealvec.revoke", &|| index.revoke(user).unwrap().version),
        ("sealvec.purge", &|| {
            index.purge(PurgeScope::Records, PurgeOptions::new()).unwrap().version
        }),
        ("sealvec.rotate_data_keys", &|| db.rotate_data_keys("canary-index", &root()).unwrap()),
        ("sealvec.rotate_index_key", &|| {
            db.rotate_index_key("canary-index", &root(), &key).unwrap()
        }),
    ];
    for (name, call) in calls {
        let (version, spans) = caught(call);
        let own = spans.iter().find(|span| span.name == name).expect(name);
        assert_eq!(own.field("sequence"), Some(&*version.sequence.to_string()), "{name}");
    }
}

#[test]
fn a_refused_call_has_its_code_and_no_counts_of_what_was_done() {
    let (_db, index) = database();
    let stranger = KeyContext::root(IndexKey::from_bytes(&[3; 32]).unwrap());
    let (_, spans) = caught(|| index.with_key(&stranger).upsert(&[item()]).unwrap_err());
    let [upsert] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(upsert.field("outcome"), Some("wrong_key"));
    assert_eq!((upsert.field("inserted"), upsert.field("sequence")), (None, None));
}

#[test]
fn a_call_within_a_call_has_its_own_span_and_those_of_its_parts_have_none() {
    let (_db, index) = database();
    let items: Vec<Item> = (0..4u8).map(|i| Item::new(i.to_string(), [0.0, 1.0])).collect();
    let (_, spans) = caught(|| {
        index.bulk_upsert(items, |_| {
            index.count().unwrap();
            ControlFlow::Continue(())
        })
    });
    let names: Vec<&str> = spans.iter().map(|span| span.name).collect();
    assert_eq!(names, ["sealvec.bulk_upsert", "sealvec.count"]);
}

#[test]
fn without_a_subscriber_the_call_is_made_all_the_same() {
    assert_eq!(observe(Call::Count, None, |_| Ok(7)), Ok(7));
    assert_eq!(observe(Call::Count, None, |_| Err::<(), _>(Error::Closed)), Err(Error::Closed));
}

#[cfg(feature = "metrics")]
mod metrics {
    use std::collections::BTreeMap;

    use ::metrics::{
        Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
        SharedString, Unit, with_local_recorder,
    };

    use super::*;

    /// Sums counters; counts what histograms are given.
    #[derive(Clone, Default)]
    struct Sums {
        sums: Arc<Mutex<BTreeMap<String, u64>>>,
        described: Arc<Mutex<Vec<String>>>,
    }

    struct Handle(String, Sums);

    impl CounterFn for Handle {
        fn increment(&self, value: u64) {
            *self.1.sums.lock().unwrap().entry(self.0.clone()).or_default() += value;
        }

        fn absolute(&self, _: u64) {
            panic!("no counter is set");
        }
    }

    impl HistogramFn for Handle {
        fn record(&self, value: f64) {
            assert!(value >= 0.0 && value.is_finite());
            self.increment(1);
        }
    }

    fn name(key: &Key) -> String {
        let mut labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        labels.sort();
        format!("{}{{{}}}", key.name(), labels.join(","))
    }

    impl Recorder for Sums {
        fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
            self.described.lock().unwrap().push(key.as_str().to_owned());
        }

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
            self.described.lock().unwrap().push(key.as_str().to_owned());
        }

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Arc::new(Handle(name(key), self.clone())))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(Arc::new(Handle(name(key), self.clone())))
        }
    }

    fn sums(work: impl FnOnce()) -> BTreeMap<String, u64> {
        let recorder = Sums::default();
        with_local_recorder(&recorder, work);
        recorder.sums.lock().unwrap().clone()
    }

    #[test]
    fn calls_are_counted_by_outcome_and_what_was_refused_changes_nothing() {
        let (_db, index) = database();
        let stranger = KeyContext::root(IndexKey::from_bytes(&[3; 32]).unwrap());
        let sums = sums(|| {
            index.upsert(&[item(), Item::new("b", [1.0, 1.0])]).unwrap();
            index.upsert(&[item()]).unwrap();
            index.with_key(&stranger).upsert(&[item()]).unwrap_err();
            index.query(&[0.0, 0.0]).run().unwrap();
        });
        for (name, sum) in [
            ("sealvec_operations_total{operation=upsert,outcome=ok}", 2),
            ("sealvec_operations_total{operation=upsert,outcome=wrong_key}", 1),
            ("sealvec_operation_seconds{operation=upsert}", 3),
            ("sealvec_items_total{operation=upsert}", 3),
            ("sealvec_changes_total{change=inserted}", 2),
            ("sealvec_changes_total{change=updated}", 1),
            ("sealvec_items_total{operation=query}", 1),
            ("sealvec_results_total{operation=query}", 2),
            ("sealvec_query_stage_seconds{stage=scoring}", 1),
        ] {
            assert_eq!(sums.get(name), Some(&sum), "{name}: {sums:#?}");
        }
    }

    #[test]
    fn no_metric_has_anything_of_the_data_and_every_one_is_described() {
        let recorder = Sums::default();
        with_local_recorder(&recorder, || {
            describe_metrics();
            all_calls();
        });
        let sums = recorder.sums.lock().unwrap().clone();
        let all = format!("{sums:?}").to_lowercase();
        for canary in CANARIES {
            assert!(!all.contains(&canary.to_lowercase()), "{canary}");
        }
        let described = recorder.described.lock().unwrap();
        let docs = include_str!("../../docs/observability.md");
        for name in sums.keys().map(|name| name.split('{').next().unwrap()) {
            assert!(described.iter().any(|known| known == name), "{name} is not described");
            assert!(docs.contains(&format!("`{name}`")), "{name} is not in the document");
        }
    }
}
