//! `GET /metrics`: what is measured of this machine, and what the service knows besides.

use std::collections::BTreeSet;

use super::Service;
use super::store::Readiness;
use crate::system::clock::{self, Clock, parse_rfc3339, unix_seconds};
use crate::upgrade::public::measured;

/// Measures; a database that is away leaves out what only it knows.
pub(super) fn page(service: &Service, readiness: &Readiness) -> String {
    let app = service.layout.app();
    let own = [("app", app)];
    let mut page = measured::of(&service.layout, &service.version, Clock::System.now());
    page.gauge("openwatch_start_time_seconds", "When the service started, in seconds since 1970.")
        .add(&own, unix_seconds(service.started));
    page.gauge("openwatch_ready", "Whether the database can be used and its schema is right.")
        .add(&own, readiness.ready);
    page.gauge("openwatch_schema_info", "The newest applied migration and the state; always 1.")
        .add(
            &[
                ("app", app),
                ("schema", readiness.schema.as_deref().unwrap_or_default()),
                ("state", readiness.state),
            ],
            true,
        );
    if !readiness.ready {
        return page.into_text();
    }
    // What cannot be asked is left out: an absent number is told from a wrong one.
    let Ok(mut hosts) = service.store.hosts() else { return page.into_text() };
    // Two machines may have one name; the one that was seen last stands for it.
    let mut known = BTreeSet::new();
    hosts.retain(|host| known.insert((host.app.clone(), host.name.clone())));
    let mut samples = page.gauge(
        "openwatch_host_last_seen_timestamp_seconds",
        "When a host was last heard of, in seconds since 1970.",
    );
    for host in &hosts {
        if let Some(at) = parse_rfc3339(&host.seen) {
            samples.add(&[("app", &host.app), ("host", &host.name)], clock::unix_seconds(at));
        }
    }
    let mut samples = page.gauge(
        "openwatch_host_last_upgrade_ok",
        "Whether the last upgrade that a host told of ended well.",
    );
    for host in &hosts {
        if let Some(outcome) = &host.outcome {
            samples.add(&[("app", &host.app), ("host", &host.name)], outcome == "ok");
        }
    }
    page.into_text()
}
