//! How far a search goes: from effort, index size and the number of items wanted to leaves and vectors.
//!
//! The constants are fitted to `WordNet` at 5,000 to 80,000 items, for the default effort to find 95 of 100; the
//! measurements are in docs/design.md.

use crate::vector::rabitq::Form;

/// How many more leaves an inner product takes.
const INNER: f32 = 2.2;
/// How much farther than the nearest a centroid may be, in units of its leaf's squared radius.
const SPREAD: f32 = 0.4;
/// Trees with no more leaves than this are searched whole by default.
const WHOLE: usize = 24;
/// Leaves that are read before what was found says whether more are.
const FIRST: usize = 16;
/// What a leaf is expected to hold, at least, to be read, if ten items are wanted and everything
/// passes; less by the root of the share that does. The tails of a leaf's cosines are lighter than
/// those of a normal distribution, and the more of a leaf passes, the farther out it is looked at.
const LEAST: f32 = 0.16;
/// First copies in a leaf, about.
const LEAF: u64 = 85;

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Items wanted.
    pub(crate) top_k: usize,
    /// In units of the default.
    pub(crate) effort: f32,
    /// The number of leaves, if the caller fixes it.
    pub(crate) probes: Option<usize>,
    /// Items in the index.
    pub(crate) items: u64,
    /// The share of them that may be found: 1 without a filter.
    pub(crate) share: f32,
}

/// How many leaves are read: between `least` and `most`, by how far their centroids are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probes {
    pub(super) least: usize,
    pub(super) most: usize,
    pub(super) spread: f32,
}

/// When a search of some of the items stops.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Leaves that are read before it is asked.
    pub(super) first: usize,
    /// A leaf that is expected to hold fewer of the items that are wanted is not read.
    pub(super) least: f32,
}

impl Depth {
    /// `None`: only [`probes`](Self::probes) say.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "small positive numbers"
    )]
    pub(super) fn reach(&self, form: Form) -> Option<Reach> {
        let first = (FIRST as f32 * self.effort) as usize;
        // The more are wanted, the more leaves they are spread over.
        let wanted = self.top_k as f32 / 10.0;
        let least = LEAST * self.share.sqrt() * wanted.min(wanted.powf(0.8));
        let least = least / (self.effort * self.effort);
        (form == Form::Square && self.probes.is_none()).then_some(Reach { first, least })
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "small positive numbers"
    )]
    /// How many leaves are read.
    pub(super) fn probes(&self, form: Form) -> Probes {
        if let Some(probes) = self.probes {
            return Probes { least: probes, most: probes, spread: 0.0 };
        }
        let leaves = (self.items / LEAF).max(1) as f32;
        let wider = self.wider();
        // Fitted to WordNet at 5k to 80k items; see docs/design.md.
        let base = (3.0 * leaves.log2() - 9.8).max(4.0) * wider;
        let whole = (WHOLE as f32 * self.effort) as usize;
        let least = if leaves as usize <= whole { whole } else { 1 };
        match form {
            Form::Square => Probes {
                least: least.max((base / 2.0) as usize),
                most: least.max((base * 2.0) as usize),
                spread: SPREAD * wider.powf(0.4),
            },
            Form::Inner => {
                let probes = least.max((base * INNER) as usize);
                Probes { least: probes, most: probes, spread: 0.0 }
            }
        }
    }

    /// How many more leaves than for ten items of all, in units of the default. Where one of ten may
    /// be found, the nearest ten of these are about as far as the nearest hundred of all.
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    pub(super) fn wider(&self) -> f32 {
        let reach = self.top_k as f32 / self.share.clamp(1e-6, 1.0);
        // Neighbours among some are spread over more leaves than among all.
        let power = if self.share < 1.0 { 0.5 } else { 0.4 };
        (reach / 10.0).max(1.0).powf(power) * self.effort
    }

    /// How many more branches are read on each level, squared, in units of the default.
    pub(super) fn beam(&self) -> f32 {
        if self.share < 1.0 { self.wider().powf(0.5) } else { self.effort }
    }

    /// About how many leaves are read where not all of the index may be found, before anything is
    /// known of what passes: a guess, by which a query chooses its way. The walk itself goes on.
    pub(crate) fn expected(&self, form: Form) -> usize {
        let leaves = usize::try_from(self.items / LEAF).unwrap_or(usize::MAX);
        self.probes(form).most.min(leaves.max(1))
    }

    /// Vectors that are read at most.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "small positive numbers"
    )]
    pub(crate) fn cap(&self) -> usize {
        let wanted =
            self.top_k.saturating_mul(2).saturating_add(40) as f32 * self.effort.max(0.25).sqrt();
        // The nearest of some are farther than the nearest of all, and the estimates coarser beside
        // what sets them apart.
        let wanted = if self.share < 1.0 { 2.0 * wanted } else { wanted };
        self.top_k.saturating_add(self.top_k / 4).max(wanted as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn least(top_k: usize, effort: f32, share: f32) -> f32 {
        let depth = Depth { top_k, effort, probes: None, items: 40_000, share };
        depth.reach(Form::Square).unwrap().least
    }

    #[test]
    fn a_leaf_must_be_worth_more_where_more_passes_or_is_wanted_and_less_with_effort() {
        let near = |a: f32, b: f32| assert!((a / b - 1.0).abs() < 1e-3, "{a} {b}");
        near(least(10, 1.0, 1.0), LEAST);
        near(least(10, 1.0, 0.25), LEAST / 2.0);
        near(least(10, 2.0, 1.0), LEAST / 4.0);
        // In proportion up to ten, and less than that above.
        near(least(1, 1.0, 1.0), LEAST / 10.0);
        near(least(320, 1.0, 1.0), LEAST * 16.0);
    }

    #[test]
    fn the_fewer_pass_or_the_more_are_wanted_the_more_branches_are_read() {
        let beam = |top_k, effort, share| {
            Depth { top_k, effort, probes: None, items: 40_000, share }.beam()
        };
        let near = |a: f32, b: f32| assert!((a / b - 1.0).abs() < 1e-3, "{a} {b}");
        // As the fourth root of how far the search reaches, and the root of the effort.
        near(beam(10, 1.0, 0.5), 2.0_f32.powf(0.25));
        near(beam(10, 1.0, 1.0 / 16.0), 2.0);
        near(beam(160, 1.0, 0.999_9), 2.0);
        near(beam(10, 4.0, 1.0 / 16.0), 4.0);
        // Of everything, only with the effort.
        near(beam(160, 1.0, 1.0), 1.0);
        near(beam(10, 4.0, 1.0), 4.0);
    }

    #[test]
    fn what_the_caller_fixes_is_not_ruled_by_what_is_found() {
        let depth = Depth { top_k: 10, effort: 1.0, probes: Some(3), items: 40_000, share: 0.1 };
        assert!(depth.reach(Form::Square).is_none());
        assert!(Depth { probes: None, ..depth }.reach(Form::Inner).is_none());
        assert!(Depth { probes: None, ..depth }.reach(Form::Square).is_some());
    }
}
