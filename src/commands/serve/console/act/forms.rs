//! The forms: one for each act, complete without a script.

use maud::{Markup, html};
use serde_json::Value;

use super::super::super::Service;
use super::super::text;
use crate::config::Act;
use crate::disk;
use crate::upgrade::asked::{CONSOLE, Record};
use crate::upgrade::public::{Point, Summary};

/// What the forms are made of.
pub(super) struct Known<'k> {
    pub(super) summary: Option<&'k Summary>,
    pub(super) hold: Option<&'k Value>,
    pub(super) lately: Record,
    pub(super) waiting: bool,
}

/// What a form held that was not taken; the token is never among it.
#[derive(Debug, Default)]
pub(super) struct Typed {
    pub(super) act: Option<Act>,
    pub(super) why: Option<String>,
    pub(super) point: String,
    pub(super) until: String,
    pub(super) reason: String,
    pub(super) load: bool,
}

impl Typed {
    pub(super) fn refused(act: Act, why: &str) -> Self {
        Self { act: Some(act), why: Some(why.to_owned()), ..Self::default() }
    }
}

/// One form, its seal and what was typed into it before.
struct Form<'f> {
    service: &'f Service,
    act: Act,
    typed: &'f Typed,
}

pub(super) fn all(service: &Service, known: &Known<'_>, typed: &Typed) -> Markup {
    let form = |act| Form { service, act, typed };
    let points: Vec<&Point> = known.summary.iter().flat_map(|summary| &summary.points).collect();
    let good: Vec<&Point> = points.iter().copied().filter(|point| point.is_good()).collect();
    let ours: Vec<&Point> = points.into_iter().filter(|point| point.pinned_here).collect();
    let held = known.hold.and_then(|hold| text(hold, "state")).is_some_and(|state| state == "held");
    let held_here = held && known.hold.and_then(|hold| text(hold, "by")) == Some(CONSOLE);
    html! {
        (form(Act::Backup).drawn("Take a restore point", &html! {
            p { "Now, with the services running. The room for it is checked first." }
        }))
        @if !good.is_empty() {
            (form(Act::Verify).drawn("Verify a restore point", &html! {
                p { "Reads every byte back and compares it with its manifest." }
                (form(Act::Verify).points(&good))
                p.check {
                    input type="checkbox" id="verify-load" name="load" value="yes"
                        checked[typed.act == Some(Act::Verify) && typed.load];
                    label for="verify-load" { "Also load it into a scratch database, which takes its room once more" }
                }
            }))
            (form(Act::Pin).drawn("Keep a restore point", &html! {
                p { "Retention leaves it alone, until a day or until it is unpinned." }
                (form(Act::Pin).points(&good))
                (form(Act::Pin).dated("Last day (may be left empty)"))
            }))
        }
        @if !ours.is_empty() {
            (form(Act::Unpin).drawn("Unpin a restore point", &html! {
                p { "Retention decides about it again. Only pins of this page are listed." }
                (form(Act::Unpin).points(&ours))
            }))
        }
        @if held_here {
            (form(Act::Release).drawn("Release upgrades", &html! {
                p { "Upgrades are held by this page. They may begin again." }
            }))
        } @else if !held {
            (form(Act::Hold).drawn("Hold upgrades", &html! {
                p { "No upgrade begins until then: apt and dnf are told no. One that has begun is finished." }
                (form(Act::Hold).dated("Until the beginning of this day (may be left empty)"))
            }))
        }
        (form(Act::Preflight).drawn("Look at the next upgrade", &html! {
            p { "Fetches what apt or dnf would install next, checks everything that its upgrade needs, and "
                "changes nothing. The answer is on " a href="/next" { "the page of the next upgrade" } "." }
        }))
    }
}

impl Form<'_> {
    /// Draws the form around its own fields, where root does this act at all.
    fn drawn(&self, title: &str, fields: &Markup) -> Markup {
        if !self.service.acts.contains(&self.act) {
            return html! {};
        }
        let word = self.act.word();
        let id = |part: &str| format!("{word}-{part}");
        let why = self.typed.why.as_ref().filter(|_| self.is_meant());
        html! {
            section id=(id("form")) aria-labelledby=(id("h")) {
                h2 id=(id("h")) { (title) }
                @if let Some(why) = why { p.verdict.bad id=(id("why")) role="alert" { (why) } }
                form method="post" action=(format!("/act/{word}")) {
                    input type="hidden" name="form" value=(self.service.seal.make(word));
                    (fields)
                    p.field {
                        label for=(id("token")) { "Token" }
                        input type="password" id=(id("token")) name="token" required
                            autocomplete="current-password" autofocus[why.is_some()]
                            aria-describedby=[why.map(|_| id("why"))];
                    }
                    p { button type="submit" { (title) } }
                }
            }
        }
    }

    fn is_meant(&self) -> bool {
        self.typed.act == Some(self.act)
    }

    /// A choice among restore points; the address of the page can have chosen one already.
    fn points(&self, points: &[&Point]) -> Markup {
        let id = format!("{}-point", self.act.word());
        let chosen = |point: &Point| {
            point.id == self.typed.point && (self.is_meant() || self.typed.act.is_none())
        };
        html! {
            p.field {
                label for=(id) { "Restore point" }
                select id=(id) name="point" {
                    @for &point in points {
                        option value=(point.id) selected[chosen(point)] {
                            (point.id)
                            @if let Some(bytes) = point.bytes { ", " (disk::spoken(bytes)) }
                        }
                    }
                }
            }
        }
    }

    /// An end and a reason.
    fn dated(&self, until: &str) -> Markup {
        let word = self.act.word();
        let id = |part: &str| format!("{word}-{part}");
        let of = |text: &str| if self.is_meant() { text.to_owned() } else { String::new() };
        html! {
            p.field {
                label for=(id("until")) { (until) }
                input type="date" id=(id("until")) name="until" value=(of(&self.typed.until));
            }
            p.field {
                label for=(id("reason")) { "Why, for whoever asks later (everybody on this host can read it)" }
                input type="text" id=(id("reason")) name="reason" maxlength="200" autocomplete="off"
                    value=(of(&self.typed.reason));
            }
        }
    }
}
