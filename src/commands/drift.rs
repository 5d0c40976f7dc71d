//! `openwatch status --drift`: what runs, against what should.

use serde_json::{Value, json};

use crate::error::Result;
use crate::upgrade::baseline::settled;
use crate::upgrade::drift::{self, Area, Finding, Report};
use crate::upgrade::machine::Machine;

use super::Reply;

/// Looks at everything that can be compared; exit 0 whenever it could tell the truth, as
/// `migrate --status` does.
pub fn run(machine: &Machine) -> Reply {
    let report = drift::look(machine);
    Reply::ok(spoken(machine, &report), json(machine, &report))
}

/// Takes the definitions in the databases as meant from now on.
pub fn accept(machine: &Machine) -> Result<Reply> {
    let settled = settled::accept(machine)?;
    let lines: Vec<String> = settled
        .databases
        .iter()
        .map(|(name, now)| {
            format!("{name}: {} definitions are meant from now on", now.objects.len())
        })
        .collect();
    let databases = settled.databases.iter().map(
        |(name, now)| json!({"name": name, "schema": now.schema, "fingerprint": now.fingerprint}),
    );
    let json = json!({"databases": databases.collect::<Vec<_>>(), "taken": settled.taken});
    Ok(Reply::ok(lines.join("\n"), json))
}

fn json(machine: &Machine, report: &Report) -> Value {
    let finding = |found: &Finding| {
        json!({
            "area": found.area.word(),
            "subject": found.subject,
            "should": found.should,
            "is": found.is,
            "mend": found.mend,
        })
    };
    json!({
        "package_version": machine.version,
        "drift": report.drift().map(finding).collect::<Vec<_>>(),
        "by_operator": report.by_operator().map(finding).collect::<Vec<_>>(),
        "not_compared": report.not_compared.iter().map(|not| {
            json!({"area": not.area.word(), "why": not.why})
        }).collect::<Vec<_>>(),
    })
}

fn spoken(machine: &Machine, report: &Report) -> String {
    let mut lines = vec![format!("{} {}", machine.layout.app(), machine.version)];
    for area in Area::ALL {
        let here = |found: &&Finding| found.area == area;
        let drift: Vec<&Finding> = report.drift().filter(here).collect();
        let chosen: Vec<&Finding> = report.by_operator().filter(here).collect();
        let unseen: Vec<&str> = report
            .not_compared
            .iter()
            .filter(|not| not.area == area)
            .map(|not| not.why.as_str())
            .collect();
        let verdict = match (drift.len(), unseen.is_empty()) {
            (0, true) => "as it should be".to_owned(),
            (0, false) => "not compared as a whole".to_owned(),
            (count, _) => format!("DRIFT, {count}"),
        };
        lines.push(format!("  {:<14} {verdict}", area.word()));
        lines.extend(drift.into_iter().flat_map(|found| told("drift", found)));
        lines.extend(chosen.into_iter().flat_map(|found| told("yours", found)));
        lines.extend(unseen.into_iter().map(|why| format!("    unseen   {why}")));
    }
    lines.push(match report.drift().count() {
        0 => "nothing has drifted".to_owned(),
        1 => "1 thing has drifted".to_owned(),
        count => format!("{count} things have drifted"),
    });
    lines.join("\n")
}

fn told(word: &str, found: &Finding) -> Vec<String> {
    vec![
        format!("    {word:<8} {}", found.subject),
        format!("             should: {}", found.should),
        format!("             is:     {}", found.is),
        format!("             {}", found.mend),
    ]
}
