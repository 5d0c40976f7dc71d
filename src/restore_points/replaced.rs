//! Databases that a restore replaced: kept under another name, and which of them may go.

use std::time::{Duration, SystemTime};

use super::restore::REPLACED;
use super::retention::{Decision, Verdict};
use crate::database::kept::Kept;
use crate::database::swap::stamped;
use crate::system::clock;

const DAY: Duration = Duration::from_secs(86_400);

/// What decides about replaced databases beside their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances<'c> {
    /// Name of the database that is live now.
    pub live: &'c str,
    /// Whether the server has it.
    pub live_is_there: bool,
    /// Age in days from which one may go; none keeps all.
    pub days: Option<u32>,
    /// Why nothing may go now, such as an upgrade that did not end well.
    pub needed: Option<&'c str>,
}

/// Decides for every database that was replaced; the order of the result is that of the list.
///
/// Age is that of the restore, written in the name. What is not surely ours, is in use, or may still
/// be the way out of something stays.
pub fn decide_replaced(kept: &[Kept], now: SystemTime, about: &Circumstances<'_>) -> Vec<Decision> {
    let decide = |one: &Kept| {
        let (verdict, reason) = judge(one, now, about);
        Decision { id: one.name.clone(), verdict, reason }
    };
    kept.iter().map(decide).collect()
}

fn judge(one: &Kept, now: SystemTime, about: &Circumstances<'_>) -> (Verdict, String) {
    let keep = |reason: &str| (Verdict::Keep, reason.to_owned());
    let stamp = one.name.rsplit('_').next().unwrap_or_default();
    let Some(replaced) = clock::parse_stamp(stamp) else {
        return keep("its age is not known");
    };
    if format!("{}_{REPLACED}_{stamp}", about.live) != one.name {
        // Two long names that begin alike are cut to the same one.
        let cut = stamped(about.live, REPLACED, stamp) == one.name;
        return keep(if cut { "its name is cut, so it may belong to another" } else { "not ours" });
    }
    if let Some(why) = about.needed {
        return (Verdict::Keep, format!("needed by {why}"));
    }
    if !about.live_is_there {
        return keep("the database that took its place is not there");
    }
    match one.sessions {
        Some(0) => {}
        Some(_) => return keep("it is in use"),
        None => return keep("it may be in use: who has it open cannot be seen"),
    }
    let Ok(age) = now.duration_since(replaced) else {
        return keep("its date lies in the future");
    };
    let Some(days) = about.days else {
        return keep("a value of the retention makes no sense");
    };
    let old = format!("replaced {} days ago, limit {days}", age.as_secs() / DAY.as_secs());
    match age < DAY.saturating_mul(days) {
        true => (Verdict::Keep, old),
        false => (Verdict::Remove, old),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: Circumstances<'_> =
        Circumstances { live: "app", live_is_there: true, days: Some(30), needed: None };

    fn verdict(name: &str, sessions: Option<u32>, about: &Circumstances<'_>) -> (Verdict, String) {
        let now = clock::parse_stamp("20261120T120000Z").unwrap();
        let kept = [Kept { name: name.into(), sessions, bytes: 8 }];
        let mut decided = decide_replaced(&kept, now, about);
        let decision = decided.remove(0);
        (decision.verdict, decision.reason)
    }

    #[test]
    fn age_alone_removes_and_to_the_day() {
        let removed = verdict("app_replaced_20261021T120000Z", Some(0), &ABOUT);
        assert_eq!(removed, (Verdict::Remove, "replaced 30 days ago, limit 30".into()));
        let kept = verdict("app_replaced_20261021T120001Z", Some(0), &ABOUT);
        assert_eq!(kept, (Verdict::Keep, "replaced 29 days ago, limit 30".into()));
    }

    #[test]
    fn what_may_still_be_needed_stays_whatever_its_age() {
        let old = "app_replaced_20200101T000000Z";
        for about in [
            Circumstances { needed: Some("the last upgrade"), ..ABOUT },
            Circumstances { live_is_there: false, ..ABOUT },
            Circumstances { days: None, ..ABOUT },
            Circumstances { live: "another", ..ABOUT },
        ] {
            assert_eq!(verdict(old, Some(0), &about).0, Verdict::Keep, "{about:?}");
        }
        assert_eq!(verdict(old, Some(1), &ABOUT).0, Verdict::Keep);
        assert!(verdict(old, None, &ABOUT).1.contains("cannot be seen"));
        assert_eq!(verdict("app_replaced_29990101T000000Z", Some(0), &ABOUT).0, Verdict::Keep);
        assert_eq!(verdict("app_replaced_20260230T000000Z", Some(0), &ABOUT).0, Verdict::Keep);
    }

    #[test]
    fn a_name_that_was_cut_may_belong_to_another_database() {
        let long = "x".repeat(60);
        let name = stamped(&long, REPLACED, "20200101T000000Z");
        let about = Circumstances { live: &long, ..ABOUT };
        let (verdict, why) = verdict(&name, Some(0), &about);
        assert_eq!(verdict, Verdict::Keep);
        assert!(why.contains("is cut"), "{why}");
    }
}
