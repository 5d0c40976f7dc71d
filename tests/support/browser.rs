//! A real browser, asked through its debugging pipe: no driver, no port.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);

/// A headless Chromium with one page.
pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: String,
    count: u64,
    /// What happened since it was last looked at.
    pub events: VecDeque<Value>,
    _home: tempfile::TempDir,
}

impl Browser {
    /// Starts it; none where there is no Chromium.
    pub fn start() -> Option<Self> {
        let program = ["chromium", "chromium-browser", "google-chrome"];
        let program = program.into_iter().find_map(|name| which::which(name).ok())?;
        let home = tempfile::tempdir().unwrap();
        let (send, receive) = (home.path().join("in"), home.path().join("out"));
        let made = Command::new("mkfifo").arg(&send).arg(&receive).status().unwrap();
        assert!(made.success());
        let child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<\"$OUR_IN\" 4>\"$OUR_OUT\"", "sh"])
            .arg(program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--disable-sync",
                "--hide-scrollbars",
                "--font-render-hinting=none",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", home.path().join("profile").display()))
            .arg("about:blank")
            .env("OUR_IN", &send)
            .env("OUR_OUT", &receive)
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Opened for both, because opening one end alone waits for the other.
        let open = |path| OpenOptions::new().read(true).write(true).open(path).unwrap();
        let (to, out) = (open(&send), BufReader::new(open(&receive)));
        let (tell, from) = channel();
        std::thread::spawn(move || {
            for message in out.split(0).map_while(Result::ok) {
                let told = serde_json::from_slice(&message).unwrap_or_default();
                if tell.send(told).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            to,
            from,
            session: String::new(),
            count: 0,
            events: VecDeque::new(),
            _home: home,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Asks and waits for the answer; events that come before it are kept.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.count += 1;
        let id = self.count;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let told = self.from.recv_timeout(LIMIT).unwrap_or_else(|e| panic!("{method}: {e}"));
            if told["id"] == id {
                assert!(told["error"].is_null(), "{method}: {told}");
                return told["result"].clone();
            }
            self.events.push_back(told);
        }
    }

    /// Goes to a page and waits until it is there.
    pub fn go(&mut self, url: &str) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        self.call("Page.navigate", json!({"url": url}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let told = self.from.recv_timeout(LIMIT).unwrap_or_else(|e| panic!("{url}: {e}"));
            self.events.push_back(told);
        }
    }

    /// Evaluates an expression in the page, and waits for it where it is a promise.
    pub fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let told = self.call("Runtime.evaluate", asked);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Sets the size of the page, in pixels.
    pub fn size(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Prefers light or dark.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Returns what is seen as a PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let asked = json!({"format": "png", "optimizeForSpeed": false});
        let told = self.call("Page.captureScreenshot", asked);
        let engine = base64::engine::general_purpose::STANDARD;
        engine.decode(told["data"].as_str().unwrap()).unwrap()
    }

    /// Returns what the console, the log and uncaught exceptions said.
    pub fn complaints(&self) -> Vec<String> {
        let loud = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["level"] != "verbose",
            _ => false,
        };
        self.events.iter().filter(loud).map(ToString::to_string).collect()
    }

    /// Returns every address that was asked for.
    pub fn requests(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|e| e["method"] == "Network.requestWillBeSent");
        sent.filter_map(|e| e["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
