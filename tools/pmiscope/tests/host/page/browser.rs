//! A headless Chromium, by its protocol for debuggers over two pipes.

use std::cell::{Cell, RefCell};
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::folder;

/// How long a page may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Browser {
    process: Child,
    to: RefCell<ChildStdin>,
    from: RefCell<BufReader<ChildStdout>>,
    sent: Cell<u64>,
    session: Option<String>,
    /// What the page asked for, and what went wrong in it.
    requests: RefCell<Vec<String>>,
    errors: RefCell<Vec<String>>,
}

/// The program, if there is one.
fn chromium() -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let places = env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name)));
    let found = places.into_iter().find(|place| place.exists());
    if found.is_none() {
        assert!(
            env::var_os("PMISCOPE_CHROMIUM").is_none(),
            "there is no chromium: tools/setup.sh page installs it"
        );
        eprintln!("skipped, there is no chromium: make page-test");
    }
    found
}

impl Browser {
    /// Opens a page's file; `None` if there is no browser.
    pub fn open(page: &Path) -> Option<Self> {
        let url = format!("file://{}", page.display());
        Self::at(&url, "document.body?.dataset.ready === 'true'")
    }

    /// Opens an address, and waits until this is true there.
    pub fn at(url: &str, is_ready: &str) -> Option<Self> {
        let mut browser = Self::start(&chromium()?);
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let size = json!({"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        browser.call("Emulation.setDeviceMetricsOverride", size);
        browser.call("Page.navigate", json!({"url": url}));
        browser.wait_for(is_ready);
        Some(browser)
    }

    fn start(program: &Path) -> Self {
        let profile = folder().join("browser");
        fs::create_dir_all(&profile).unwrap();
        // It reads file 3 and writes file 4.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null"#,
        ]);
        command.arg(program);
        command.args([
            "--headless=new",
            "--disable-gpu",
            "--no-first-run",
            "--remote-debugging-pipe",
        ]);
        command.arg(format!("--user-data-dir={}", profile.display()));
        if rustix::process::getuid().is_root() {
            // It has none for that user.
            command.arg("--no-sandbox");
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            to: RefCell::new(process.stdin.take().unwrap()),
            from: RefCell::new(BufReader::new(process.stdout.take().unwrap())),
            process,
            sent: Cell::new(0),
            session: None,
            requests: RefCell::default(),
            errors: RefCell::default(),
        }
    }

    pub fn call(&self, method: &str, parameters: Value) -> Value {
        let number = self.sent.get() + 1;
        self.sent.set(number);
        let mut message = json!({"id": number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut to = self.to.borrow_mut();
        to.write_all(format!("{message}\0").as_bytes()).unwrap();
        to.flush().unwrap();
        loop {
            let answer = self.read();
            if answer["id"] == number {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    fn read(&self) -> Value {
        let mut bytes = Vec::new();
        self.from.borrow_mut().read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        serde_json::from_slice(&bytes).unwrap()
    }

    fn note(&self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap();
                self.requests.borrow_mut().push(url.to_owned());
            }
            Some("Runtime.exceptionThrown" | "Log.entryAdded") => {
                self.errors.borrow_mut().push(parameters.to_string());
            }
            _ => {}
        }
    }

    /// What a script says.
    pub fn eval(&self, script: &str) -> Value {
        let script = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", script);
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until a script says true.
    pub fn wait_for(&self, script: &str) {
        let start = Instant::now();
        while self.eval(script) != true {
            let said = || self.eval("document.body?.innerText.slice(0, 300)");
            assert!(
                start.elapsed() < TIMEOUT,
                "{script} is never true: {}",
                said()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The text of an element.
    pub fn text(&self, selector: &str) -> String {
        let script = format!("document.querySelector({}).textContent", json!(selector));
        self.eval(&script).as_str().unwrap().to_owned()
    }

    /// The middle of an element, or where its share of the width is.
    pub fn point(&self, selector: &str, [across, down]: [f64; 2]) -> [f64; 2] {
        let script = format!(
            "(box => [box.x + box.width * {across}, box.y + box.height * {down}])(document.querySelector({}).getBoundingClientRect())",
            json!(selector)
        );
        let at = self.eval(&script);
        [0, 1].map(|it| at[it].as_f64().unwrap())
    }

    pub fn click(&self, at: [f64; 2]) {
        self.mouse("mousePressed", at);
        self.mouse("mouseReleased", at);
    }

    pub fn drag(&self, from: [f64; 2], to: [f64; 2]) {
        self.mouse("mousePressed", from);
        self.mouse("mouseMoved", [f64::midpoint(from[0], to[0]), from[1]]);
        self.mouse("mouseMoved", to);
        self.mouse("mouseReleased", to);
    }

    fn mouse(&self, kind: &str, [x, y]: [f64; 2]) {
        let event =
            json!({"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1});
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Types into what has the focus.
    pub fn type_text(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    pub fn press(&self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", json!({"type": kind, "key": key}));
        }
    }

    /// What the page has loaded beside itself, and what went wrong.
    pub fn troubles(&self) -> Vec<String> {
        // What has come until now is noted with this answer.
        self.eval("0");
        let requests = self.requests.borrow();
        let others = requests.iter().skip(1).cloned();
        others.chain(self.errors.borrow().iter().cloned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
