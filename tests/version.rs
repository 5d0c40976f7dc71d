//! The order of versions against dpkg's own.

use std::cmp::Ordering;
use std::process::{Command, Stdio};

use openwatch::version::Version;
use proptest::prelude::*;

fn dpkg_is_here() -> bool {
    let found = Command::new("dpkg").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("SKIPPED: dpkg is not here to compare with");
    }
    found
}

fn dpkg(a: &str, relation: &str, b: &str) -> bool {
    let status = Command::new("dpkg")
        .args(["--compare-versions", a, relation, b])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    status.success()
}

fn dpkg_order(a: &str, b: &str) -> Ordering {
    if dpkg(a, "lt", b) {
        Ordering::Less
    } else if dpkg(a, "eq", b) {
        Ordering::Equal
    } else {
        Ordering::Greater
    }
}

fn order(a: &str, b: &str) -> Ordering {
    Version::new(a).order(&Version::new(b))
}

/// Versions as packages have them, and as nobody should write them.
const VERSIONS: &[&str] = &[
    "0-1",
    "0.0.1-1",
    "0.1.0-1",
    "0.9.9-1",
    "1-1",
    "1.0-1",
    "1.00-1",
    "1.0-2",
    "1.0-10",
    "1.0.0-1",
    "1.0.1-1",
    "1.0~rc1-1",
    "1.0~rc2-1",
    "1.0~~-1",
    "1.0~-1",
    "1.0a-1",
    "1.0b-1",
    "1.0+b1-1",
    "1.0+git20260101.abcdef0-1",
    "1.0-1+deb12u1",
    "1.0-1~bpo12+1",
    "1.0-1.1",
    "1.9-1",
    "1.10-1",
    "1.010-1",
    "2.0-1",
    "2.0.0~alpha-1",
    "10.0-1",
    "1:0.1-1",
    "1:1.0-1",
    "0:1.0-1",
    "2:0-1",
    "1.0-rc1-1",
    "1.2.3.4-1",
    "20261121-1",
    "99999999999999999999999.1-1",
    "1.0-0",
    "1.0A-1",
    "1..0-1",
    "1.0.-1",
    "1.+-1",
    "1.~-1",
];

#[test]
fn every_pair_of_real_versions_orders_as_dpkg_orders_it() {
    if !dpkg_is_here() {
        return;
    }
    for a in VERSIONS {
        for b in VERSIONS {
            assert_eq!(order(a, b), dpkg_order(a, b), "{a} and {b}");
        }
    }
}

#[test]
fn random_versions_order_as_dpkg_orders_them() {
    if !dpkg_is_here() {
        return;
    }
    // Few letters, so that versions resemble each other; always a revision, since one that is missing
    // on one side only makes no difference to us and one to dpkg.
    let version = "([0-2]:)?[0-9][0-9ab.+~-]{0,6}-[0-9a.+~]{1,3}";
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    runner
        .run(&(version, version), |(a, b)| {
            prop_assert_eq!(order(&a, &b), dpkg_order(&a, &b), "{} and {}", a, b);
            Ok(())
        })
        .unwrap();
}

proptest! {
    #[test]
    fn no_text_makes_the_order_panic_and_reversing_reverses_it(a in "\\PC{0,12}", b in "\\PC{0,12}") {
        prop_assert_eq!(order(&a, &b), order(&b, &a).reverse());
        prop_assert_eq!(order(&a, &a), Ordering::Equal);
    }
}
