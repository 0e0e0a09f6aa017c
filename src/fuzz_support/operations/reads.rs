//! The calls that only read, compared with the model.

use std::collections::BTreeMap;

use super::world::{Expected, World, filter, ids};
use crate::error::Result;
use crate::filter::Filter;
use crate::fuzz_support::Input;
use crate::index::Include;
use crate::query::{Hit, Order};
use crate::vector::Metric;

fn done<T>(result: Result<T>) -> T {
    result.map_err(|error| error.code().to_owned()).expect("a read that must succeed")
}

impl World {
    pub(super) fn read(&self, which: u8, input: &mut Input<'_>) {
        match which {
            14 => self.check_get(&ids(input, 6)),
            15 => self.check_list(1 + usize::from(input.below(9))),
            16 => self.check_count(&filter(input)),
            17 => self.check_query(input, None),
            18 => {
                let filter = filter(input);
                self.check_query(input, Some(&filter));
            }
            19 => self.check_tree(),
            _ => self.check_metadata(input),
        }
    }

    /// The partition tree and the attribute index agree with the items.
    pub(super) fn check_tree(&self) {
        let report = done(self.index().verify_tree());
        assert_eq!((report.items, report.oversized), (self.items.len() as u64, 0));
    }

    pub(super) fn check_everything(&self) {
        self.check_tree();
        let mut all: Vec<String> = self.items.keys().cloned().collect();
        all.push("never there".into());
        self.check_get(&all);
        self.check_list(7);
        self.check_count(&Filter::gte("n", 3));
        self.check_count(&Filter::ne("t", "a"));
        let mut input = Input::new(&[0b0110_0100, 100]);
        self.check_query(&mut input, None);
    }

    fn check_get(&self, ids: &[String]) {
        let found = done(self.index().get(ids, Include::ALL)).value;
        assert_eq!(found.len(), ids.len());
        for (found, asked) in found.into_iter().zip(ids) {
            let item = found.item.map(|item| Expected {
                vector: item.vector.unwrap_or_default(),
                contents: item.contents,
                metadata: item.metadata,
                version: item.version,
            });
            assert!(found.id == *asked && item.as_ref() == self.items.get(asked), "{asked}");
        }
    }

    fn check_list(&self, limit: usize) {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = done(self.index().list_ids(limit, cursor.as_ref())).value;
            assert!(page.ids.len() <= limit);
            all.extend(page.ids);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert!(all.iter().eq(self.items.keys()));
    }

    fn check_count(&self, filter: &Filter) {
        let count = self.items.values().filter(|item| item.matches(filter)).count() as u64;
        assert_eq!(*done(self.index().count_where(filter)), count, "{filter}");
    }

    /// Pages of what a filter selects: by id, or in the order of a field; then what is compared is
    /// which items come, each once.
    fn check_metadata(&self, input: &mut Input<'_>) {
        let (filter, limit) = (filter(input), 1 + usize::from(input.below(9)));
        let order = [None, Some(Order::Ascending), Some(Order::Descending)];
        let order = order.get(usize::from(input.below(3))).copied().flatten();
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let mut query = self.index().query_metadata(&filter).limit(limit);
            if let Some(order) = order {
                query = query.order_by("n", order);
            }
            if let Some(cursor) = cursor {
                query = query.cursor(cursor);
            }
            let page = done(query.run()).value;
            assert!(page.items.len() <= limit);
            for item in page.items {
                let expected = self.items.get(&item.id).expect("an item that is there");
                assert!(item.metadata == expected.metadata && item.version == expected.version);
                all.push(item.id);
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if order.is_some() {
            all.sort_unstable();
        }
        let expected = self.items.iter().filter(|(_, item)| item.matches(&filter));
        assert!(all.iter().eq(expected.map(|(id, _)| id)), "{filter}");
    }

    fn check_query(&self, input: &mut Input<'_>, filter: Option<&Filter>) {
        let query = self.vector(input.u8());
        let top_k = 1 + usize::from(input.below(12));
        let run = |exact| {
            let mut building = self.index().query(&query).top_k(top_k);
            if exact {
                building = building.exact();
            }
            if let Some(filter) = filter {
                building = building.filter(filter.clone());
            }
            done(building.run()).value
        };
        let (hits, near) = (run(true), run(false));
        let selected = |item: &Expected| filter.is_none_or(|filter| item.matches(filter));
        let truth: BTreeMap<&String, f64> = self
            .items
            .iter()
            .filter(|(_, item)| selected(item))
            .map(|(id, item)| (id, distance(self.metric, &query, &item.vector)))
            .collect();
        assert_eq!((hits.len(), near.len()), (top_k.min(truth.len()), hits.len()));
        let mut distances: Vec<f64> = truth.values().copied().collect();
        distances.sort_by(f64::total_cmp);
        let close = |hit: &Hit, expected: f64| (f64::from(hit.distance) - expected).abs() < 1e-5;
        for (hit, expected) in hits.iter().zip(distances) {
            assert!(close(hit, expected), "not one of the nearest");
        }
        // A hit of the approximate search may be missing, but what is there is true.
        for hit in hits.iter().chain(&near) {
            assert!(truth.get(&hit.id).is_some_and(|expected| close(hit, *expected)));
        }
        for hits in [&hits, &near] {
            let place = |hit: &Hit| (hit.distance, hit.id.clone());
            assert!(hits.iter().map(place).is_sorted_by(|a, b| a < b), "nearest first, then by id");
        }
    }
}

fn distance(metric: Metric, query: &[f32], item: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    match metric {
        Metric::Cosine => 1.0 - dot(query, item) / (dot(query, query) * dot(item, item)).sqrt(),
        Metric::InnerProduct => -dot(query, item),
        Metric::Euclidean => {
            let square = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
            query.iter().zip(item).map(square).sum::<f64>().sqrt()
        }
    }
}
