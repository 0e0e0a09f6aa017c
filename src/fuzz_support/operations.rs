//! Sequences of calls against a model.
//!
//! The bytes are a sequence of calls on an index in memory: first the metric, the dimension and the
//! attribute index, then at most [`MOST`] calls with their arguments. A sorted map is the oracle:
//! counts, sizes, reports and the rule of the `ETag` are compared after every call, answers in full.
//! What a filter selects is asked of the filter itself, one item after the other; that this is right
//! is for the tests of the filter language. Leaves hold eight items and branches four children, so
//! that short sequences split and merge nodes.

mod reads;
mod world;

use super::Input;
use world::World;

/// Calls that are made of one input; the rest of it is not looked at.
const MOST: usize = 48;

/// Runs a sequence of calls, with the database closed and opened again now and then and at the end.
pub fn operations(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input);
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.check_everything();
    world.reopen();
    world.check_everything();
}
