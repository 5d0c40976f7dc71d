//! Which restore points stay: a pure function of list, policy, needs and clock.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use crate::config::{Retention, Rule};
use crate::disk;
use crate::version::Version;

use super::entry::{Entry, Origin, Status, newest_first};
use super::manifest::{Kind, Reason};

/// What the machine still needs of its restore points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The points that are needed, each with who needs it.
    pub pins: Vec<Pin>,
    /// The version that runs: the newest point of the upgrade that led to it is its way back.
    pub running: Option<Version>,
    /// Why it is not known what is needed; then no complete or damaged point may go.
    pub doubt: Option<String>,
}

/// A restore point that something else still needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The restore point.
    pub id: String,
    /// Who needs it, such as `the running version` or `an unfinished upgrade`.
    pub reason: String,
}

/// Whether a restore point stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
}

/// What happens to one restore point, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The restore point, or the leftover.
    pub id: String,
    /// Whether it stays.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
}

/// Age from which a leftover of a killed run goes, and a broken point that a newer broken one of its
/// version stands beside.
const LEFTOVER: Duration = Duration::from_secs(86_400);

/// Who needs the point that leads back from the version that runs.
pub(super) const RUNNING: &str = "the running version, as its way back";

const DAY: Duration = Duration::from_secs(86_400);

/// What age and number say about one entry, before the size of all is looked at.
enum Judged {
    /// It stays, whatever all of them take.
    Keep(String),
    /// It stays unless all of them take too much.
    KeepWithinSize(String),
    /// It goes.
    Remove(String),
}

/// Decides for every entry; the order of the result is that of the list.
///
/// Only good points count, and only those that were made here: the newest `keep` of them, and always
/// at least one, stay whatever their age. A limit of size takes damaged ones first, then the oldest;
/// it never takes the newest good one. While a value of the policy makes no sense, every point stays.
pub fn decide(
    entries: &[Entry],
    policy: &Retention,
    needs: &Needs,
    now: SystemTime,
) -> Vec<Decision> {
    let doubt = needs.doubt.as_deref();
    let floor = Floor::of(entries, policy);
    let judge = Judge { policy, needs: needed(entries, needs), doubt, now, floor };
    let newest_broken = newest_broken(entries);
    let judged: Vec<Judged> = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| judge.entry(at, entry, newest_broken.contains(&at)))
        .collect();
    let too_much = over_size(entries, &judged, policy);
    let decided = entries.iter().zip(judged).enumerate();
    decided
        .map(|(at, (entry, judged))| {
            let (verdict, reason) = match (judged, too_much.get(&at)) {
                (Judged::KeepWithinSize(_), Some(why)) => (Verdict::Remove, why.clone()),
                (Judged::Keep(why) | Judged::KeepWithinSize(why), _) => (Verdict::Keep, why),
                (Judged::Remove(why), _) => (Verdict::Remove, why),
            };
            Decision { id: entry.id.clone(), verdict, reason }
        })
        .collect()
}

/// Who needs which point.
fn needed<'a>(entries: &'a [Entry], needs: &'a Needs) -> HashMap<&'a str, &'a str> {
    let leads_here = |entry: &&Entry| {
        let to = entry.manifest.as_ref().and_then(|manifest| manifest.to_version.as_ref());
        entry.status == Status::Good
            && entry.origin == Origin::Own
            && reason_of(entry) == Some(Reason::Upgrade)
            && to.is_some_and(|to| needs.running.as_ref() == Some(to))
    };
    let back = entries.iter().filter(leads_here).min_by(|a, b| newest_first(a, b));
    let back = back.map(|entry| (entry.id.as_str(), RUNNING));
    let pins = needs.pins.iter().map(|pin| (pin.id.as_str(), pin.reason.as_str()));
    back.into_iter().chain(pins).collect()
}

/// The good points that stay whatever their age, by their place in the list: removals rely on them.
pub(super) struct Floor {
    /// Those that stay whatever all take as well, each with the reason.
    pub(super) last: HashMap<usize, String>,
    /// Those of the policy's numbers, each with the reason.
    pub(super) newest: HashMap<usize, String>,
}

impl Floor {
    pub(super) fn of(entries: &[Entry], policy: &Retention) -> Self {
        let mut order: Vec<usize> =
            (0..entries.len()).filter(|at| entries[*at].is_good_dump()).collect();
        order.sort_by(|a, b| newest_first(&entries[*a], &entries[*b]));
        let mut floor = Self { last: HashMap::new(), newest: HashMap::new() };
        let relied: Vec<usize> =
            order.iter().copied().filter(|at| entries[*at].is_relied_on()).collect();
        // Where nothing made here is good, the newest of elsewhere is all there is.
        let own = |at: &&usize| entries[**at].origin == Origin::Own;
        let ours = |at: &&usize| !matches!(entries[**at].origin, Origin::OtherApp(_));
        let leads_back = |at: &&usize| entries[**at].leads_back();
        let mut whole = order.iter().filter(leads_back);
        let newest = whole.clone().find(own).or_else(|| whole.find(ours));
        for at in newest.into_iter().chain(relied.first()) {
            floor.last.insert(*at, "the newest good one".into());
        }
        let keep = usize::try_from(policy.keep.max(1)).unwrap_or(usize::MAX);
        let count = relied.len().min(keep);
        for at in relied.iter().take(keep) {
            floor.newest.insert(*at, format!("one of the newest {count} good ones"));
        }
        for (reason, rule) in rules(policy) {
            let Some(keep) = rule.keep.value() else { continue };
            let keep = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
            let sound = order.iter().filter(|at| entries[**at].is_sound());
            let alike = sound.filter(|at| reason_of(&entries[**at]) == Some(reason));
            for at in alike.take(keep) {
                let why =
                    || format!("one of the newest good ones with the reason {}", reason.word());
                floor.newest.entry(*at).or_insert_with(why);
            }
        }
        floor
    }

    fn is_empty(&self) -> bool {
        self.last.is_empty()
    }
}

fn rules(policy: &Retention) -> [(Reason, Rule); 4] {
    [
        (Reason::Upgrade, policy.upgrade),
        (Reason::Manual, policy.manual),
        (Reason::BeforeRestore, policy.before_restore),
        (Reason::AfterStep, policy.after_step),
    ]
}

fn reason_of(entry: &Entry) -> Option<Reason> {
    entry.manifest.as_ref().map(|manifest| manifest.reason)
}

/// The newest broken one of each version: enough to find out what went wrong.
fn newest_broken(entries: &[Entry]) -> HashSet<usize> {
    let mut order: Vec<usize> =
        (0..entries.len()).filter(|at| matches!(entries[*at].status, Status::Damaged(_))).collect();
    // By time: one without a manifest has no sequence.
    let key = |at: &usize| (entries[*at].created, entries[*at].sequence, &entries[*at].id);
    order.sort_by(|a, b| key(b).cmp(&key(a)));
    let mut seen = HashSet::new();
    order.retain(|at| seen.insert(entries[*at].version()));
    order.into_iter().collect()
}

struct Judge<'a> {
    policy: &'a Retention,
    needs: HashMap<&'a str, &'a str>,
    doubt: Option<&'a str>,
    now: SystemTime,
    floor: Floor,
}

impl Judge<'_> {
    fn entry(&self, at: usize, entry: &Entry, newest_broken: bool) -> Judged {
        if let Some(who) = self.needs.get(entry.id.as_str()) {
            return Judged::Keep(format!("needed by {who}"));
        }
        match &entry.status {
            Status::Busy => return Judged::Keep("being written".into()),
            Status::Foreign => return Judged::Keep("not a restore point".into()),
            Status::Removing => return Judged::Remove("removal was begun".into()),
            Status::NotUnderstood(why) => {
                return Judged::Keep(format!("of a later version of this program: {why}"));
            }
            Status::Partial | Status::Damaged(_) | Status::Good => {}
        }
        if let Origin::OtherApp(app) = &entry.origin {
            return Judged::Keep(format!("belongs to the application {app}"));
        }
        if entry.kind() == Kind::Clone {
            // Its directory is all that names the clone on the server; whoever drops that removes it.
            let why = "a clone, kept until the dump that is made from it is proven";
            return Judged::Keep(why.into());
        }
        if let Some(pin) = entry.pin.as_ref().filter(|pin| pin.holds(self.now)) {
            return Judged::Keep(pin.told());
        }
        let Some(created) = entry.created else {
            return Judged::Keep("its age is not known".into());
        };
        let Ok(age) = self.now.duration_since(created) else {
            return Judged::Keep("its date lies in the future".into());
        };
        if entry.status == Status::Partial {
            return if age >= LEFTOVER {
                Judged::Remove("left by a run that was killed".into())
            } else {
                Judged::Keep("left by a run that was killed less than a day ago".into())
            };
        }
        if let Some(doubt) = self.doubt {
            return Judged::Keep(format!("it is not known what is needed: {doubt}"));
        }
        if self.policy.keeps_everything() {
            return Judged::Keep("a value of the retention makes no sense".into());
        }
        match entry.status.why() {
            Some(why) => self.damaged(entry, why, age, newest_broken),
            None => self.good(at, entry, age),
        }
    }

    fn good(&self, at: usize, entry: &Entry, age: Duration) -> Judged {
        let (last, newest) = (self.floor.last.get(&at), self.floor.newest.get(&at));
        match (last, newest) {
            (Some(why), _) => return Judged::Keep(why.clone()),
            (None, Some(why)) => return Judged::KeepWithinSize(why.clone()),
            (None, None) => {}
        }
        match (self.limit(entry, age), entry.kind()) {
            // It takes next to nothing here, so that its removal would make no room.
            (Ok(young), Kind::External) => Judged::Keep(young),
            (Ok(young), Kind::Dump | Kind::Clone) => Judged::KeepWithinSize(young),
            (Err(old), Kind::External) => {
                Judged::Remove(format!("{old}; what its command made is not removed by us"))
            }
            (Err(old), Kind::Dump | Kind::Clone) => Judged::Remove(old),
        }
    }

    fn damaged(&self, entry: &Entry, why: &str, age: Duration, newest_of_version: bool) -> Judged {
        if self.floor.is_empty() {
            return Judged::Keep("there is no good one".into());
        }
        match self.limit(entry, age) {
            Err(old) => Judged::Remove(format!("{old}; {why}")),
            Ok(_) if !newest_of_version && age >= LEFTOVER => {
                Judged::Remove(format!("a newer broken one of its version is kept; {why}"))
            }
            Ok(young) => Judged::KeepWithinSize(format!("{young}; {why}")),
        }
    }

    /// Says how old it is beside the limit of its reason: good where it may stay.
    fn limit(&self, entry: &Entry, age: Duration) -> Result<String, String> {
        let rule = rules(self.policy).into_iter().find(|(r, _)| reason_of(entry) == Some(*r));
        let days = rule.and_then(|(_, rule)| rule.days.value()).or(self.policy.days);
        let Some(days) = days else { return Ok("no age limit is set".into()) };
        let told = format!("{} days old, limit {days}", age.as_secs() / DAY.as_secs());
        if age < DAY.saturating_mul(days) { Ok(told) } else { Err(told) }
    }
}

/// Finds what must go so that all that stays takes no more than the policy allows: damaged ones
/// before good ones, older ones before newer ones, and none more than needed.
fn over_size(entries: &[Entry], judged: &[Judged], policy: &Retention) -> HashMap<usize, String> {
    let mut out = HashMap::new();
    let Some(most) = policy.max_bytes.value() else { return out };
    let counts = |entry: &Entry| {
        entry.status != Status::Foreign && !matches!(entry.origin, Origin::OtherApp(_))
    };
    let bytes = |at: usize| entries[at].bytes.unwrap_or(0);
    let stays = |at: &usize| !matches!(judged[*at], Judged::Remove(_)) && counts(&entries[*at]);
    let mut sum =
        (0..entries.len()).filter(stays).fold(0, |sum: u64, at| sum.saturating_add(bytes(at)));
    let mut free: Vec<usize> = (0..entries.len())
        .filter(|at| matches!(judged[*at], Judged::KeepWithinSize(_)) && bytes(*at) > 0)
        .collect();
    let good = |at: &usize| entries[*at].status == Status::Good;
    free.sort_by(|a, b| {
        good(a).cmp(&good(b)).then_with(|| newest_first(&entries[*b], &entries[*a]))
    });
    for at in free {
        if sum <= most {
            break;
        }
        let (all, most) = (disk::spoken(sum), disk::spoken(most));
        out.insert(at, format!("with it {all} would be kept, limit {most}"));
        sum -= bytes(at);
    }
    out
}
