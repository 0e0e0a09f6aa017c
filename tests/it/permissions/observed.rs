//! Every operation of the table makes exactly one span, whether it is done or refused, and the span
//! says which.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

use super::{NAME, OPERATIONS, Operation, World, expected, outcome, run};
use crate::permissions::{PRINCIPALS, Standing};

/// Collects the field `outcome` of each span.
#[derive(Clone, Default)]
struct Outcomes(Arc<Mutex<Vec<Option<String>>>>);

struct Outcome(Option<String>);

impl Visit for Outcome {
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "outcome" {
            self.0 = Some(value.to_owned());
        }
    }
}

impl Subscriber for Outcomes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sealvec"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        let mut spans = self.0.lock().unwrap();
        spans.push(None);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut found = Outcome(None);
        values.record(&mut found);
        if found.0.is_some() {
            let place = usize::try_from(id.into_u64()).unwrap() - 1;
            assert_eq!(std::mem::replace(&mut self.0.lock().unwrap()[place], found.0), None);
        }
    }

    fn event(&self, _: &Event<'_>) {
        panic!("there are no events");
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A second subscriber, for the life of the process. While `tracing` knows only one, it asks the
/// thread that first makes a span whether that is wanted, for good: another test, which has none.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Outcomes::default()));

#[test]
fn every_operation_makes_one_span_which_says_what_came_of_it() {
    LazyLock::force(&SECOND);
    let wanted = [Standing::Root, Standing::Read, Standing::Write, Standing::Stranger];
    for (name, standing, key) in PRINCIPALS {
        if !wanted.contains(&standing) {
            continue;
        }
        for operation in OPERATIONS {
            let (world, borrowed) = (World::new(key), key());
            let index = world.db.open_index(NAME).unwrap();
            let index = index.with_key(borrowed.as_ref().unwrap());
            let outcomes = Outcomes::default();
            let (result, code) = tracing::subscriber::with_default(outcomes.clone(), || {
                let result = run(operation, &world.db, &index, key());
                let code = result.as_ref().map_or_else(sealvec::Error::code, |_| "ok");
                (result.clone(), code)
            });
            assert_eq!(outcome(result), expected(operation, standing), "{name}: {operation:?}");
            // Its run makes two calls, and compares them.
            let calls = if operation == Operation::Query { 2 } else { 1 };
            let found = outcomes.0.lock().unwrap().clone();
            assert_eq!(found, vec![Some(code.to_owned()); calls], "{name}: {operation:?}");
        }
    }
}
