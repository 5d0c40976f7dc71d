use std::collections::BTreeSet;

use super::super::facts::{Changed, Count, Opened};
use super::*;

fn cut_off_at(step: Step, when: When, databases: &[Standing]) -> Facts {
    Facts {
        run: Run::CutOff,
        direction: Direction::Forward,
        reached: Some((step, when)),
        restoring: match (step, when) {
            (Step::Restore, When::Begun) => Restoring::Begun,
            (Step::Restore, When::Done) => Restoring::Done,
            _ => Restoring::No,
        },
        databases: databases.to_vec(),
        gate: Gate::Closed,
        opened: Opened::Never,
        units: Units::Down,
        point: Point::There,
        changed: Changed::default(),
        cut_off: Count { happened: 1, allowed: 3 },
        stuck: None,
        on_failure: OnFailure::Stop,
    }
}

const STANDINGS: [Standing; 5] =
    [Standing::Before, Standing::PutBack, Standing::Between, Standing::Doubtful, Standing::After];

const STEPS: [Step; 8] = [
    Step::Preflight,
    Step::Quiesce,
    Step::RestorePoint,
    Step::Migrate,
    Step::Restore,
    Step::Package,
    Step::Start,
    Step::Health,
];

/// Every combination of marks and facts, two databases at most.
fn every() -> Vec<Facts> {
    let mut marks = vec![None];
    for step in STEPS {
        marks.extend([Some((step, When::Begun)), Some((step, When::Done))]);
    }
    let mut databases = vec![Vec::new()];
    for first in STANDINGS {
        databases.push(vec![first]);
        databases.extend(STANDINGS.map(|second| vec![first, second]));
    }
    let mut all = Vec::new();
    for run in [Run::Unknown, Run::Well, Run::Failed, Run::CutOff] {
        for reached in &marks {
            for restoring in [Restoring::No, Restoring::Begun, Restoring::Done] {
                for found in &databases {
                    for gate in [Gate::Closed, Gate::Open] {
                        for units in [Units::Up, Units::Down] {
                            for point in
                                [Point::None, Point::There, Point::Lost, Point::LeftToOthers]
                            {
                                for on_failure in [OnFailure::Stop, OnFailure::Restore] {
                                    all.push(Facts {
                                        run,
                                        reached: *reached,
                                        restoring,
                                        gate,
                                        units,
                                        point,
                                        on_failure,
                                        ..cut_off_at(Step::Migrate, When::Begun, found)
                                    });
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

const GO_ON: Asked = Asked::GoOn(Changes::Refused);
const UNDO: Asked = Asked::Undo(Changes::Refused);

const ALL_ASKED: [Asked; 5] =
    [Asked::ByItself, GO_ON, Asked::GoOn(Changes::Adopted), UNDO, Asked::Undo(Changes::Adopted)];

#[test]
fn each_mark_with_its_facts_is_one_state_with_one_way_on_and_one_way_back() {
    use Standing::{After, Before, Between, Doubtful, PutBack};
    use When::{Begun, Done};
    type Case = (Step, When, &'static [Standing], State, Way, Way);
    let stays = || Way::Undo(Data::Stays);
    let back = || Way::Undo(Data::PutBack);
    let cases: Vec<Case> = vec![
        (Step::Quiesce, Begun, &[Before], State::Untouched, Way::Resume, stays()),
        (Step::Quiesce, Done, &[Before], State::Untouched, Way::Resume, stays()),
        (Step::RestorePoint, Begun, &[Before], State::Untouched, Way::Resume, stays()),
        (Step::RestorePoint, Done, &[Before, Before], State::Untouched, Way::Resume, stays()),
        // Killed inside the one transaction: the server has taken it back.
        (Step::Migrate, Begun, &[Before], State::Untouched, Way::Resume, stays()),
        (Step::Migrate, Begun, &[Between], State::HalfDone, Way::Resume, back()),
        (Step::Migrate, Begun, &[Doubtful], State::HalfDone, Way::Resume, back()),
        (Step::Migrate, Begun, &[After, Before], State::HalfDone, Way::Resume, back()),
        // Killed between the commit and the mark.
        (Step::Migrate, Begun, &[After], State::NotStarted, Way::Resume, back()),
        (Step::Migrate, Done, &[After], State::NotStarted, Way::Resume, back()),
        (Step::Migrate, Done, &[After, Before], State::HalfDone, Way::Resume, back()),
        (Step::Restore, Begun, &[Between], State::RestoreHalfWay, back(), back()),
        (Step::Restore, Begun, &[Before], State::RestoreHalfWay, back(), back()),
        (Step::Restore, Begun, &[PutBack, After], State::SwapHalfWay, back(), back()),
        (Step::Restore, Begun, &[PutBack, PutBack], State::Untouched, Way::Resume, stays()),
        (Step::Restore, Done, &[PutBack], State::Untouched, Way::Resume, stays()),
        (Step::Start, Begun, &[After], State::NotStarted, Way::Resume, back()),
        (Step::Start, Done, &[After], State::NotProven, Way::Resume, Way::Started),
        (Step::Health, Begun, &[After], State::NotProven, Way::Resume, Way::Started),
        (Step::Health, Done, &[After], State::NotProven, Way::Resume, Way::Started),
    ];
    for (step, when, databases, expected, on, undo) in cases {
        let facts = cut_off_at(step, when, databases);
        let told = format!("{step:?} {when:?} {databases:?}");
        assert_eq!(state(&facts), expected, "{told}");
        assert_eq!(way(&facts, Asked::ByItself), on, "{told}");
        assert_eq!(way(&facts, GO_ON), on, "{told}");
        assert_eq!(way(&facts, UNDO), undo, "{told}");
    }
}

#[test]
fn units_that_run_on_the_new_schema_make_it_not_proven() {
    let facts = cut_off_at(Step::Start, When::Begun, &[Standing::After]);
    for (gate, units, expected) in [
        (Gate::Closed, Units::Down, State::NotStarted),
        (Gate::Open, Units::Down, State::NotProven),
        (Gate::Open, Units::Up, State::NotProven),
    ] {
        assert_eq!(state(&Facts { gate, units, ..facts.clone() }), expected, "{gate:?} {units:?}");
    }
}

#[test]
fn a_run_that_led_back_is_not_turned_round_by_itself() {
    for reached in
        [(Step::Quiesce, When::Done), (Step::Restore, When::Done), (Step::Package, When::Begun)]
    {
        let restoring = if reached.0 == Step::Quiesce { Restoring::No } else { Restoring::Done };
        let found = [Standing::Before];
        let facts = Facts {
            direction: Direction::Back,
            restoring,
            ..cut_off_at(reached.0, reached.1, &found)
        };
        assert_eq!(way(&facts, Asked::ByItself), Way::Undo(Data::Stays), "{reached:?}");
        assert_eq!(way(&facts, GO_ON), Way::Resume, "{reached:?}");
    }
}

/// Row 62.
#[test]
fn too_many_interrupted_attempts_are_stuck_until_a_person_says_otherwise() {
    let facts = cut_off_at(Step::Migrate, When::Begun, &[Standing::Before]);
    for (happened, expected) in
        [(2, Way::Resume), (3, Way::Stuck(Stuck::CutOffAgain)), (4, Way::Stuck(Stuck::CutOffAgain))]
    {
        let facts = Facts { cut_off: Count { happened, allowed: 3 }, ..facts.clone() };
        assert_eq!(way(&facts, Asked::ByItself), expected);
        assert_eq!(way(&facts, GO_ON), Way::Resume);
    }
}

/// Row 64.
#[test]
fn a_changed_world_is_not_resumed_unless_it_is_adopted() {
    let data = Changed { data: vec!["main is another database".into()], ..Changed::default() };
    let package = Changed { package: vec!["another package".into()], ..Changed::default() };
    let begun = cut_off_at(Step::Migrate, When::Begun, &[Standing::Between]);
    for changed in [data.clone(), package.clone()] {
        let facts = Facts { changed, ..begun.clone() };
        for asked in [Asked::ByItself, GO_ON, UNDO] {
            assert!(matches!(way(&facts, asked), Way::Changed(_)), "{asked:?}");
        }
        assert_eq!(way(&facts, Asked::GoOn(Changes::Adopted)), Way::Resume);
    }
    // A newer package over data that nothing was done to is a new attempt, not a resumed one.
    let untouched = cut_off_at(Step::RestorePoint, When::Begun, &[Standing::Before]);
    assert_eq!(way(&Facts { changed: package, ..untouched.clone() }, Asked::ByItself), Way::Resume);
    assert!(matches!(way(&Facts { changed: data, ..untouched }, Asked::ByItself), Way::Changed(_)));
}

#[test]
fn a_doubtful_database_goes_back_by_itself_only_where_the_operator_wants_it() {
    let facts = cut_off_at(Step::Migrate, When::Begun, &[Standing::Doubtful]);
    let with = |on_failure, point| Facts { on_failure, point, ..facts.clone() };
    let restore = OnFailure::Restore;
    assert_eq!(way(&with(restore, Point::There), Asked::ByItself), Way::Undo(Data::PutBack));
    assert_eq!(way(&with(restore, Point::Lost), Asked::ByItself), Way::Resume);
    assert_eq!(way(&with(restore, Point::There), GO_ON), Way::Resume);
    assert_eq!(way(&with(OnFailure::Stop, Point::There), Asked::ByItself), Way::Resume);
}

#[test]
fn without_the_restore_point_going_back_needs_a_person() {
    let facts = cut_off_at(Step::Migrate, When::Begun, &[Standing::Between]);
    for (point, expected) in [
        (Point::None, Way::Stuck(Stuck::NoWayBack)),
        (Point::Lost, Way::Stuck(Stuck::NoWayBack)),
        (Point::LeftToOthers, Way::LeftToOthers),
    ] {
        assert_eq!(way(&Facts { point, ..facts.clone() }, UNDO), expected);
    }
}

/// Row 61.
#[test]
fn an_undo_that_failed_is_never_tried_by_itself() {
    for mut facts in every() {
        facts.stuck = Some(Stuck::UndoFailed);
        let way = way(&facts, Asked::ByItself);
        assert!(matches!(way, Way::Stuck(_) | Way::Nothing), "{facts:?}");
    }
}

/// What must never be, whatever the marks and the facts.
#[test]
fn no_combination_loses_data_or_goes_on_from_half_restored_data() {
    let mut seen = BTreeSet::new();
    for facts in every() {
        let state = state(&facts);
        seen.insert(state.word());
        for asked in ALL_ASKED {
            let way = way(&facts, asked);
            let told = format!("{asked:?} {state:?} {facts:?}");
            match &way {
                Way::Undo(Data::PutBack) => {
                    assert_eq!(facts.point, Point::There, "{told}");
                    assert_ne!(state, State::NotProven, "what services wrote is lost: {told}");
                }
                Way::Resume => {
                    assert_ne!(state, State::SwapHalfWay, "{told}");
                    assert_ne!(state, State::RestoreHalfWay, "{told}");
                    assert!(!matches!(asked, Asked::Undo(_)), "{told}");
                }
                Way::Nothing => assert_eq!(state, State::Settled, "{told}"),
                Way::Undo(Data::Stays)
                | Way::Changed(_)
                | Way::Started
                | Way::LeftToOthers
                | Way::Stuck(_) => assert_ne!(state, State::Settled, "{told}"),
            }
            if asked == Asked::ByItself && matches!(way, Way::Undo(_)) {
                let wanted = facts.on_failure == OnFailure::Restore;
                assert!(wanted || facts.restoring == Restoring::Begun, "{told}");
            }
        }
    }
    assert_eq!(seen.len(), 8, "every state is reached: {seen:?}");
}
