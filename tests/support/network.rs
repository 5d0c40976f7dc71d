//! Other hosts: network namespaces with a wire to this one that can be pulled.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::postgres::is_root;

/// A host of its own on a wire of its own; dropping it removes both.
pub struct Host {
    name: String,
    near: String,
    subnet: String,
}

impl Host {
    /// Makes a host; needs root, as `ci/test` has it.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(is_root(), "network namespaces need root");
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        assert!(n < 60, "too many hosts in one test binary");
        let name = format!("ow-{pid}-{n}");
        let (near, far) = (format!("own{pid}x{n}"), format!("owf{pid}x{n}"));
        let subnet = format!("10.{}.{}", 200 + (pid >> 8) % 50, pid % 256);
        let (first, second) = (n * 4 + 1, n * 4 + 2);
        let host = Self { name, near, subnet: format!("{subnet}.{first}") };
        ip(&["netns", "add", &host.name]);
        ip(&["link", "add", &host.near, "type", "veth", "peer", "name", &far]);
        ip(&["link", "set", &far, "netns", &host.name]);
        ip(&["addr", "add", &format!("{subnet}.{first}/30"), "dev", &host.near]);
        ip(&["link", "set", &host.near, "up"]);
        let there = ["-n", &host.name];
        ip(&[&there[..], &["addr", "add", &format!("{subnet}.{second}/30"), "dev", &far]].concat());
        ip(&[&there[..], &["link", "set", &far, "up"]].concat());
        host
    }

    /// Returns the address by which this host reaches the one that the test runs on.
    pub fn way_out(&self) -> &str {
        &self.subnet
    }

    /// Returns the words that run a program on this host, which calls itself by this name.
    pub fn run_as(&self, hostname: &str) -> Vec<String> {
        let net = format!("--net=/run/netns/{}", self.name);
        let script = "hostname \"$1\"; shift; exec \"$@\"";
        ["nsenter", &net, "unshare", "--uts", "sh", "-c", script, "sh", hostname]
            .map(str::to_owned)
            .to_vec()
    }

    /// Pulls the wire: no end is told, nothing comes through any more.
    pub fn unplug(&self) {
        ip(&["link", "set", &self.near, "down"]);
    }

    /// Puts the wire back.
    pub fn plug(&self) {
        ip(&["link", "set", &self.near, "up"]);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.near]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
