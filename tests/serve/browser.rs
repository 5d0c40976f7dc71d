//! The pages in a real browser: with and without script, by keyboard, narrow and wide, light and dark.

use super::acting::{self, TOKEN};
use super::console::furnish;
use super::*;
use support::browser::Browser;
use support::peers;

const PAGES: [&str; 6] = ["/", "/restore-points", "/next", "/history", "/hosts", "/act"];

const TAB: u32 = 9;
const ENTER: u32 = 13;

/// Asks axe-core what it finds.
const AXE: &str = "axe.run().then(all => all.violations.map(one => \
                   one.id + ': ' + one.nodes.map(node => node.html).slice(0, 3).join(' | ')))";

/// Fills a form of `/act` in and sends it, as a person would.
fn fill(browser: &mut Browser, act: &str, token: &str) {
    browser.eval(&format!(
        "document.getElementById('{act}-token').value = '{token}'; \
         document.querySelector('#{act}-form form').requestSubmit(); null"
    ));
}

fn status() -> Value {
    json!({
        "outcome": "ok", "app": "openwatch", "package_version": "2.0.0",
        "gate": {"state": "closed", "why": "migration 0006 failed", "since": "2026-11-20T13:15:02Z"},
        "databases": [{"name": "main", "state": "pending", "current": "0005", "head": "0007",
            "server_version": "15.8", "pending": [{"version": "0006"}, {"version": "0007"}], "problems": []}],
        "units": ["openwatch.service is stopped"], "warnings": [],
        "last_run": {"outcome": "migration_failed", "message": "migration 0006 failed", "acknowledged": false,
            "state": "the schema is as before the upgrade", "next": "Run `openwatch upgrade --retry`."},
        "next": "openwatch upgrade --retry",
    })
}

fn browser() -> Option<Browser> {
    let found = Browser::start();
    if found.is_none() {
        peers::left_out("there is no chromium");
    }
    found
}

fn machine() -> (Machine, Running) {
    let machine = Machine::new(ALL);
    furnish(&machine, "migration 0006 failed: duplicate key value violates unique constraint");
    acting::open(&machine);
    let service = machine.serve(Parts { status: Arc::new(status), ..machine.parts(ALL) });
    (machine, service)
}

#[test]
fn every_page_is_whole_without_script_and_quiet_with_it() {
    let Some(mut browser) = browser() else { return };
    let (_machine, service) = machine();
    let base = format!("http://{}", service.address);
    for disabled in [true, false] {
        browser.call("Emulation.setScriptExecutionDisabled", json!({"value": disabled}));
        for page in PAGES {
            for (width, height) in [(1100, 900), (320, 640)] {
                browser.size(width, height);
                browser.go(&format!("{base}{page}"));
                let text = browser.eval("document.getElementById('main').innerText");
                assert!(text.as_str().unwrap().len() > 40, "{page}: {text}");
                let wide = browser.eval("document.documentElement.scrollWidth - innerWidth");
                assert!(wide.as_i64().unwrap() <= 0, "{page} is wider than {width} by {wide}");
                let styled = browser.eval("getComputedStyle(document.body).marginTop");
                assert_eq!(styled, "0px", "{page} has its style sheet");
            }
        }
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
    // A date field brings a picture of the browser's own, which is fetched from nowhere.
    let mut asked = browser.requests();
    asked.retain(|url| !url.starts_with("data:"));
    assert!(asked.len() > 20, "{asked:?}");
    assert!(asked.iter().all(|url| url.starts_with(&base)), "{asked:?}");
}

#[test]
fn a_page_is_used_by_keyboard_and_stays_as_it_is_now() {
    let Some(mut browser) = browser() else { return };
    let (machine, service) = machine();
    browser.size(1100, 900);
    browser.go(&format!("http://{}/history", service.address));
    let focused =
        "(document.activeElement.getAttribute('href') || document.activeElement.className)";
    let mut order = Vec::new();
    for _ in 0..8 {
        browser.press("Tab", TAB);
        order.push(browser.eval(focused).as_str().unwrap_or_default().to_owned());
        let shown = browser.eval("getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(shown, "solid", "{order:?}");
    }
    assert_eq!(
        order,
        ["#main", "/", "/restore-points", "/next", "/history", "/hosts", "/act", "scroll"]
    );
    browser.go(&format!("http://{}/history", service.address));
    browser.press("Tab", TAB);
    browser.press("Enter", ENTER);
    wait_for("the skip link leads to the content", || {
        browser.eval("document.activeElement.id") == "main"
    });
    // A run that ends elsewhere appears by itself, and a reader is told once.
    let text = std::fs::read_to_string(machine.layout().journal()).unwrap();
    let run = text.replace("2.0.0", "2.0.1").replace("20261120", "20261121");
    machine.write(&machine.layout().history_dir().join("20261121T131502Z.json"), &run);
    browser.eval("document.activeElement.blur()");
    wait_for("the page shows the new run", || {
        browser.eval("document.getElementById('runs').innerText.includes('2.0.1')") == true
    });
    assert_eq!(
        browser.eval("document.getElementById('live').innerText"),
        "The page was brought up to date."
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn axe_finds_nothing_to_mend() {
    let Some(axe) = peers::file("axe/axe.min.js") else { return };
    let Some(mut browser) = browser() else { return };
    let (_machine, service) = machine();
    let axe = std::fs::read_to_string(axe).unwrap();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for page in PAGES {
            browser.size(1100, 900);
            browser.go(&format!("http://{}{page}", service.address));
            browser.eval(&format!("{axe};null"));
            let found = browser.eval(AXE);
            assert_eq!(found, json!([]), "{page} in {scheme}");
        }
        // A form that was not taken, with its reason.
        fill(&mut browser, "pin", "not the token");
        wait_for("the reason", || browser.eval("!!document.querySelector('[role=alert]')") == true);
        browser.eval(&format!("{axe};null"));
        let found = browser.eval(AXE);
        assert_eq!(found, json!([]), "a refused form in {scheme}");
    }
}

#[test]
fn a_form_works_without_script_and_with_it_nothing_that_was_typed_is_lost() {
    let Some(mut browser) = browser() else { return };
    let (machine, service) = machine();
    let base = format!("http://{}", service.address);
    browser.size(1100, 900);
    browser.call("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    browser.go(&format!("{base}/act?point=20261118T131502Z-1.0.0"));
    fill(&mut browser, "pin", TOKEN);
    wait_for("root is asked", || {
        browser.eval("location.pathname + location.hash") == "/act#lately"
    });
    let wish = openwatch::upgrade::asked::take(&machine.layout()).unwrap().unwrap();
    assert_eq!((wish.act, wish.point.as_deref()), (Act::Pin, Some("20261118T131502Z-1.0.0")));
    let address = browser.eval("location.href").as_str().unwrap().to_owned();
    assert!(!address.contains(TOKEN), "{address}");

    browser.call("Emulation.setScriptExecutionDisabled", json!({"value": false}));
    browser.go(&format!("{base}/act"));
    browser.eval(
        "document.getElementById('pin-reason').value = 'half a wo'; \
         document.getElementById('pin-token').focus(); null",
    );
    // The page changes under it: root ends what was asked for, and a point more is good.
    acting::lately(&machine, "refused", "not the first answer");
    let shown = "document.getElementById('lately').innerText.includes('not the first answer')";
    wait_for("the page is brought up to date", || browser.eval(shown) == true);
    assert_eq!(browser.eval("document.activeElement.id"), "pin-token");
    browser.eval("document.activeElement.blur()");
    acting::lately(&machine, "refused", "not the second answer");
    wait_for("and once more", || browser.eval(&shown.replace("first", "second")) == true);
    assert_eq!(browser.eval("document.getElementById('pin-reason').value"), "half a wo");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// `UPDATE_EXPECTED=1` draws the pictures of docs/CONSOLE.md anew.
#[test]
fn the_pictures_of_the_documents_are_small_and_can_be_drawn() {
    let Some(mut browser) = browser() else { return };
    let (_machine, service) = machine();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/console");
    let pictures =
        [("host", "/", "light"), ("history", "/history", "dark"), ("act", "/act", "light")];
    for (name, page, scheme) in pictures {
        browser.prefer(scheme);
        browser.size(900, 640);
        browser.go(&format!("http://{}{page}", service.address));
        let high = browser.eval("document.documentElement.scrollHeight").as_u64().unwrap();
        // Enough of a long page to know it by.
        browser.size(900, u32::try_from(high).unwrap().min(1200));
        let picture = browser.picture();
        assert!(picture.len() < 150 << 10, "{name} has {} bytes", picture.len());
        let path = dir.join(format!("{name}.png"));
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, picture).unwrap();
        }
        assert!(path.is_file(), "{}: run with UPDATE_EXPECTED=1", path.display());
    }
}
