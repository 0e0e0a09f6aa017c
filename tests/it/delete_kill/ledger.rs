//! What must be there, by what a child said: the books of the parent.

use std::collections::BTreeMap;
use std::fmt;

use sealvec::VersionToken;

use crate::tree::Random;

pub(super) const IDS: usize = 80;
const DIMENSION: usize = 8;

/// All ids are of one length, so that those with a prefix are ten.
pub(super) fn name(id: usize) -> String {
    format!("{id:02}")
}

pub(super) fn vector(seed: u64) -> Vec<f32> {
    Random(seed).vector(DIMENSION)
}

/// Of different lengths, all with the seed in front.
pub(super) fn contents(seed: u64) -> Vec<u8> {
    let mut contents = seed.to_be_bytes().to_vec();
    let more = [0, 10, 1000, 5000][usize::try_from(seed % 4).unwrap()];
    contents.resize(8 + more, 7);
    contents
}

pub(super) fn seed_of(stored: &[u8]) -> u64 {
    let seed = u64::from_be_bytes(*stored.first_chunk().unwrap());
    assert_eq!(stored, contents(seed));
    seed
}

/// What is told of a commit, without whether it has reached the disk.
pub(super) fn commit_of(version: &VersionToken) -> String {
    version.to_string().rsplit_once('.').unwrap().0.to_owned()
}

fn sequence_of(commit: &str) -> u64 {
    u64::from_str_radix(commit.split('.').next().unwrap(), 16).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) seed: u64,
    pub(super) version: u64,
}

type Items = BTreeMap<usize, Stored>;

/// A call of a child. A put is an id and the seed of what is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    Put(Vec<(usize, u64)>),
    Delete(Vec<usize>),
    Prefix(usize),
    Move(Vec<(usize, u64)>, Vec<usize>),
}

impl Call {
    pub(super) fn random(random: &mut Random) -> Self {
        let mut ids = |most: usize| -> Vec<usize> {
            let mut ids: Vec<usize> = (0..=random.below(most)).map(|_| random.below(IDS)).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let (some, more) = (ids(12), ids(24));
        let mut seeds = |ids: Vec<usize>| -> Vec<(usize, u64)> {
            ids.into_iter().map(|id| (id, random.below(1_000_000) as u64)).collect()
        };
        let (few, puts) = (seeds(ids_apart(&some, &more)), seeds(more));
        match random.below(10) {
            0..5 => Self::Delete(some),
            5 => Self::Prefix(random.below(IDS / 10)),
            6 => Self::Move(few, some),
            _ => Self::Put(puts),
        }
    }

    /// What a call makes of these items: inserted, updated, deleted and missing.
    fn apply(&self, items: &mut Items, version: u64) -> [u64; 4] {
        let mut changes = [0; 4];
        let prefixed: Vec<usize>;
        let (puts, deletes): (&[_], &[_]) = match self {
            Self::Put(puts) => (puts, &[]),
            Self::Delete(ids) => (&[], ids),
            Self::Prefix(prefix) => {
                prefixed = items.range(prefix * 10..prefix * 10 + 10).map(|(id, _)| *id).collect();
                (&[], &prefixed)
            }
            Self::Move(puts, ids) => (puts, ids),
        };
        for id in deletes {
            changes[if items.remove(id).is_some() { 2 } else { 3 }] += 1;
        }
        for (id, seed) in puts {
            let replaced = items.insert(*id, Stored { seed: *seed, version });
            changes[usize::from(replaced.is_some())] += 1;
        }
        changes
    }

    fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let kind = words.next().unwrap();
        let (mut puts, mut ids) = (Vec::new(), Vec::new());
        for word in words {
            match word.split_once(':') {
                Some((id, seed)) => puts.push((id.parse().unwrap(), seed.parse().unwrap())),
                None => ids.push(word.parse().unwrap()),
            }
        }
        match kind {
            "put" => Self::Put(puts),
            "delete" => Self::Delete(ids),
            "prefix" => Self::Prefix(ids[0]),
            "move" => Self::Move(puts, ids),
            _ => panic!("{text}"),
        }
    }
}

/// The ids of `more` that are not among `some`, but not many.
fn ids_apart(some: &[usize], more: &[usize]) -> Vec<usize> {
    more.iter().copied().filter(|id| !some.contains(id)).take(6).collect()
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, puts, ids): (_, &[_], &[_]) = match self {
            Self::Put(puts) => ("put", puts, &[]),
            Self::Delete(ids) => ("delete", &[], ids),
            Self::Prefix(prefix) => ("prefix", &[], std::slice::from_ref(prefix)),
            Self::Move(puts, ids) => ("move", puts, ids),
        };
        f.write_str(kind)?;
        puts.iter().try_for_each(|(id, seed)| write!(f, " {id}:{seed}"))?;
        ids.iter().try_for_each(|id| write!(f, " {id}"))
    }
}

/// What a child was told by a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Inserted, updated, deleted, missing.
    pub(super) changes: [u64; 4],
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) commit: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|count| write!(f, "{count} "))?;
        write!(f, "{} {} {}", self.count, self.bytes, self.commit)
    }
}

impl Told {
    fn parse(text: &str) -> Self {
        let fields: Vec<&str> = text.split(' ').collect();
        let [.., commit] = fields[..] else { panic!("{text}") };
        let mut numbers = fields.iter().take(6).map(|field| field.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        let changes = [next(), next(), next(), next()];
        Self { changes, count: next(), bytes: next(), commit: commit.to_owned() }
    }
}

/// What is there after a kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) items: Items,
    pub(super) sequence: u64,
    pub(super) commit: String,
}

/// What became of the call that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// There was none.
    None,
    Whole,
    Untouched,
}

/// What was acknowledged, and the call that was not.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    items: Items,
    commit: String,
    /// All of them, by number.
    pub(super) commits: BTreeMap<u64, String>,
    pending: Option<Call>,
}

fn size(items: &Items) -> u64 {
    let size = |(id, stored): (&usize, &Stored)| {
        name(*id).len() + DIMENSION * 4 + contents(stored.seed).len()
    };
    items.iter().map(size).sum::<usize>() as u64
}

impl Ledger {
    /// Of an index without items.
    pub(super) fn new(commit: String) -> Self {
        let mut ledger =
            Self { items: Items::new(), commit, commits: BTreeMap::new(), pending: None };
        ledger.enter(ledger.commit.clone());
        ledger
    }

    fn enter(&mut self, commit: String) {
        self.commits.insert(sequence_of(&commit), commit.clone());
        self.commit = commit;
    }

    pub(super) fn sequence(&self) -> u64 {
        sequence_of(&self.commit)
    }

    /// Enters what a child said; how many calls were acknowledged.
    pub(super) fn read(&mut self, said: &[String]) -> Result<usize, String> {
        let mut acknowledged = 0;
        for line in said {
            match line.split_once(' ') {
                Some(("open", commit)) if commit != self.commit => {
                    return Err(format!("opened {commit}, and not {}", self.commit));
                }
                Some(("open", _)) => {}
                Some(("call", call)) => self.pending = Some(Call::parse(call)),
                Some(("told", told)) => {
                    self.acknowledge(Told::parse(told))?;
                    acknowledged += 1;
                }
                _ => return Err(format!("a child said {line:?}: {said:#?}")),
            }
        }
        Ok(acknowledged)
    }

    /// The call that is pending was acknowledged.
    pub(super) fn acknowledge(&mut self, told: Told) -> Result<(), String> {
        let call = self.pending.take().ok_or("acknowledged, and never made")?;
        let before = self.sequence();
        let changes = call.apply(&mut self.items, before + 1);
        let [inserted, updated, deleted, _] = changes;
        let commits = inserted + updated + deleted > 0;
        let (count, bytes) = (self.items.len() as u64, size(&self.items));
        if (told.changes, told.count, told.bytes) != (changes, count, bytes) {
            return Err(format!("{told:?}, and not {changes:?}, {count}, {bytes}, to {call}"));
        }
        if sequence_of(&told.commit) != before + u64::from(commits) {
            return Err(format!("{told:?} does not follow commit {before}"));
        }
        if !commits && told.commit != self.commit {
            return Err(format!("{told:?} is another commit than {}", self.commit));
        }
        self.enter(told.commit);
        Ok(())
    }

    /// Compares the books with what is there, and goes on from that.
    pub(super) fn settle(&mut self, found: &Found) -> Result<Fate, String> {
        let pending = self.pending.take();
        let fate = if found.commit == self.commit {
            if pending.is_some() { Fate::Untouched } else { Fate::None }
        } else {
            let next = self.sequence() + 1;
            if found.sequence != next {
                return Err(format!("commit {} is there, after {}", found.sequence, next - 1));
            }
            let call = pending.ok_or("a commit is there that nobody asked for")?;
            call.apply(&mut self.items, next);
            Fate::Whole
        };
        if found.items != self.items {
            return Err(format!(
                "{fate:?}, but there is {:?}, and not {:?}",
                found.items, self.items
            ));
        }
        self.enter(found.commit.clone());
        Ok(fate)
    }
}

/// Books with the items 1 to 4, of commit 5, and a delete of three items that is not acknowledged.
fn example() -> (Ledger, Found, Found) {
    let mut items = Items::new();
    Call::Put((1..5).map(|id| (id, 7)).collect()).apply(&mut items, 5);
    let before = Found { items: items.clone(), sequence: 5, commit: "5.aa.1".to_owned() };
    let pending = Call::Delete(vec![1, 2, 60]);
    let mut after = Found { items: items.clone(), sequence: 6, commit: "6.bb.1".to_owned() };
    pending.apply(&mut after.items, 6);
    let ledger = Ledger::new(before.commit.clone());
    (Ledger { items, pending: Some(pending), ..ledger }, before, after)
}

#[test]
fn a_call_that_was_not_acknowledged_may_be_whole_or_untouched() {
    let (ledger, before, after) = example();
    assert_eq!(ledger.clone().settle(&before), Ok(Fate::Untouched));
    assert_eq!(ledger.clone().settle(&after), Ok(Fate::Whole));
    let mut idle = Ledger { pending: None, ..ledger };
    assert_eq!(idle.settle(&before), Ok(Fate::None));
    assert!(idle.settle(&after).unwrap_err().contains("nobody asked for"));
}

#[test]
fn half_a_call_is_seen() {
    let (ledger, before, after) = example();
    for place in [&before, &after] {
        let mut half = place.clone();
        half.items.insert(1, Stored { seed: 7, version: 5 });
        half.items.remove(&2);
        assert!(ledger.clone().settle(&half).unwrap_err().contains("but there is"));
        let mut other = place.clone();
        other.items.get_mut(&3).unwrap().version = 4;
        assert!(ledger.clone().settle(&other).unwrap_err().contains("but there is"));
    }
    let further = Found { sequence: 7, commit: "7.cc.1".to_owned(), ..after };
    assert!(ledger.clone().settle(&further).unwrap_err().contains("commit 7 is there, after 5"));
}

#[test]
fn a_wrong_acknowledgement_is_seen() {
    let (ledger, before, after) = example();
    let told = "0 0 2 1 2 0 6.bb.1";
    let bytes = size(&after.items);
    let right = Told { bytes, ..Told::parse(told) };
    let mut acknowledged = ledger.clone();
    acknowledged.acknowledge(right.clone()).unwrap();
    assert_eq!(acknowledged.clone().settle(&after), Ok(Fate::None));
    // Acknowledged, and not there, or there again.
    assert!(acknowledged.clone().settle(&before).unwrap_err().contains("commit 5 is there"));
    let back = Found { items: before.items, ..after };
    assert!(acknowledged.settle(&back).unwrap_err().contains("but there is"));
    // Acknowledged with other numbers than it has.
    for wrong in [
        Told { changes: [0, 0, 3, 0], ..right.clone() },
        Told { count: 3, ..right.clone() },
        Told { bytes: bytes + 1, ..right.clone() },
        Told { commit: "5.aa.1".to_owned(), ..right.clone() },
        Told { commit: "7.bb.1".to_owned(), ..right.clone() },
    ] {
        assert!(ledger.clone().acknowledge(wrong.clone()).is_err(), "{wrong}");
    }
    let nothing = Call::Delete(vec![70]);
    let mut idle = Ledger { pending: Some(nothing), ..ledger };
    let bytes = size(&idle.items);
    let told = Told { changes: [0, 0, 0, 1], count: 4, bytes, commit: "5.ab.1".to_owned() };
    assert!(idle.acknowledge(told).unwrap_err().contains("another commit"));
}

#[test]
fn what_is_said_is_understood() {
    for seed in 0..100 {
        let call = Call::random(&mut Random(seed));
        assert_eq!(Call::parse(&call.to_string()), call);
    }
    let told = Told { changes: [1, 2, 3, 4], count: 5, bytes: 6, commit: "a.ff.1".to_owned() };
    assert_eq!(Told::parse(&told.to_string()), told);
    let said = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let (ledger, ..) = example();
    assert!(ledger.clone().read(&said(&["open 4.aa.1"])).unwrap_err().contains("opened"));
    assert!(ledger.clone().read(&said(&["thread panicked"])).is_err());
}
