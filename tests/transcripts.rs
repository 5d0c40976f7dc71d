//! The README shows what `ci/demo` recorded; `ci/containers` proves the recording itself.

use std::fs;

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}; run ci/demo"))
}

/// Returns what stands between the marks of a transcript, without the fence.
fn shown(readme: &str, name: &str) -> String {
    let (_, rest) = readme
        .split_once(&format!("<!-- transcript: {name} -->\n```text\n"))
        .unwrap_or_else(|| panic!("README.md has no transcript {name}; run ci/demo"));
    rest.split_once("```\n<!-- end -->").expect("the transcript has an end").0.to_owned()
}

#[test]
fn the_readme_shows_the_recorded_transcripts() {
    let readme = text("README.md");
    for name in ["upgrade", "failure", "rollback"] {
        assert_eq!(shown(&readme, name), text(&format!("docs/transcripts/{name}.txt")), "{name}");
    }
}

#[test]
fn the_transcripts_show_the_whole_road() {
    let upgrade = text("docs/transcripts/upgrade.txt");
    for step in ["restore point", "applying", "proving health", "answered 200, version 2.0.0"] {
        assert!(upgrade.contains(step), "{step}");
    }
    let failure = text("docs/transcripts/failure.txt");
    for step in
        ["failed: ", "  state:  ", "  hint:   ", "Assertion failed", "answered 200, version 3.0.0"]
    {
        assert!(failure.contains(step), "{step}");
    }
    let rollback = text("docs/transcripts/rollback.txt");
    for step in [
        "rows written since",
        "restore point of the present state",
        "back at version 2.0.0-1",
        "answered 200, version 2.0.0",
        "gate:          open",
    ] {
        assert!(rollback.contains(step), "{step}");
    }
}
