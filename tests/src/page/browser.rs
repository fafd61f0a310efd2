//! A real, headless Chromium, driven over its DevTools protocol.
//!
//! The protocol goes through two pipes (`--remote-debugging-pipe`), messages end with a zero byte: there is no port that
//! anybody else could find, and nothing to wait for.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{agent::eventually, patience::patient};

/// Nothing it is asked for takes longer, unless it hangs.
const HANG: Duration = Duration::from_secs(60);

/// Debian's program, then what others call it.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What it must not do by itself: the tests are about the page's requests, and there is no network to look for.
const FLAGS: [&str; 14] = [
    "--headless=new",
    "--remote-debugging-pipe",
    // Tests run as root, where Chromium's own sandbox cannot start.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--font-render-hinting=none",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// A running browser with one page. It is killed when this is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: File,
    messages: Receiver<Value>,
    next_id: u64,
    session: String,
    /// Everything it told without being asked.
    pub events: Vec<Value>,
    _directory: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// CSS pixels.
    pub width: u32,
    /// CSS pixels.
    pub height: u32,
    /// `prefers-color-scheme: dark`.
    pub dark: bool,
}

impl Browser {
    /// Starts it; `command` makes the command for a program, which may run it in another network namespace.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not answer.
    pub fn start(command: impl FnOnce(&str) -> Command) -> Result<Self> {
        let program = find().context("no Chromium: cargo xtask setup installs Debian's")?;
        let directory = tempfile::tempdir()?;
        let (input, output) = (directory.path().join("in"), directory.path().join("out"));
        let made = Command::new("mkfifo").args([&input, &output]).status()?;
        ensure!(made.success(), "mkfifo ended with {made}");
        // The shell gives the program its third and fourth file descriptor, where the protocol is spoken.
        let mut shell = command("sh");
        shell.args(["-c", r#"in=$1 out=$2; shift 2; exec "$@" 3<"$in" 4>"$out""#, "sh"]);
        shell.args([&input, &output]).arg(&program).args(FLAGS);
        shell.arg(format!("--user-data-dir={}", directory.path().join("profile").display()));
        shell.arg("about:blank").env("HOME", directory.path());
        let child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let to = File::options().write(true).open(&input)?;
        let from = File::open(&output)?;
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut message = Vec::new();
            while reader.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let parsed = serde_json::from_slice(&message);
                message.clear();
                if parsed.is_ok_and(|parsed| sender.send(parsed).is_err()) {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            to,
            messages,
            next_id: 0,
            session: String::new(),
            events: Vec::new(),
            _directory: directory,
        };
        browser.new_page()?;
        Ok(browser)
    }

    fn new_page(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attached =
            self.call("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}))?;
        self.session = attached["sessionId"].as_str().context("a session")?.to_owned();
        for domain in ["Page", "Runtime", "Log", "Network", "Performance"] {
            self.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(())
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    ///
    /// When it refuses, ends or hangs.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.next_id += 1;
        let id = self.next_id;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.to.write_all(&text).with_context(|| format!("tell Chromium {method}"))?;
        let deadline = Instant::now() + patient(HANG);
        loop {
            match self.messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(answer) if answer["id"] == id => {
                    if let Some(error) = answer.get("error") {
                        bail!("Chromium refused {method}: {error}");
                    }
                    return Ok(answer["result"].clone());
                }
                Ok(event) => self.events.push(event),
                Err(RecvTimeoutError::Timeout) => bail!("Chromium does not answer {method}"),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("Chromium ended at {method}: {:?}", self.child.try_wait()?)
                }
            }
        }
    }

    /// Sets size and colours.
    ///
    /// # Errors
    ///
    /// As [`Self::call`].
    pub fn set_view(&mut self, view: View) -> Result<()> {
        let View { width, height, dark } = view;
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics)?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"}]});
        self.call("Emulation.setEmulatedMedia", media).map(drop)
    }

    /// Opens the page and waits until all of it is there.
    ///
    /// # Errors
    ///
    /// When it is not there after a while.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", json!({"url": url}))?;
        ensure!(answer.get("errorText").is_none(), "{url}: {}", answer["errorText"]);
        self.eventually("document.documentElement.classList.contains('loaded')")
    }

    /// What an expression is worth in the page; promises are awaited.
    ///
    /// # Errors
    ///
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", parameters)?;
        if let Some(exception) = answer.get("exceptionDetails") {
            bail!("{expression}: {}", exception["exception"]["description"]);
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    ///
    /// When it is not after a while.
    pub fn eventually(&mut self, expression: &str) -> Result<()> {
        eventually(Duration::from_secs(30), || {
            let value = self.evaluate(expression)?;
            ensure!(value == true, "{expression} is {value}");
            Ok(())
        })
    }

    /// Presses and releases a key.
    ///
    /// # Errors
    ///
    /// As [`Self::call`].
    pub fn press(&mut self, key: &str, code: u32) -> Result<()> {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if key == "Enter" && kind == "keyDown" {
                event["text"] = "\r".into();
            }
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// The whole page as an image in WebP.
    ///
    /// # Errors
    ///
    /// As [`Self::call`].
    pub fn screenshot(&mut self) -> Result<Vec<u8>> {
        let parameters = json!({"format": "webp", "quality": 82, "captureBeyondViewport": true});
        let answer = self.call("Page.captureScreenshot", parameters)?;
        decode_base64(answer["data"].as_str().unwrap_or_default())
    }

    /// What the console and the log say that they should not: errors and warnings, refused by policy or not.
    pub fn complaints(&self) -> Vec<String> {
        self.events
            .iter()
            .filter(|event| match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => {
                    matches!(event["params"]["type"].as_str(), Some("error" | "warning" | "assert"))
                }
                Some("Log.entryAdded") => {
                    matches!(event["params"]["entry"]["level"].as_str(), Some("error" | "warning"))
                }
                _ => false,
            })
            .map(|event| event["params"].to_string())
            .collect()
    }

    /// Addresses of all requests so far.
    pub fn requests(&self) -> Vec<&str> {
        self.events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent")
            .filter_map(|event| event["params"]["request"]["url"].as_str())
            .collect()
    }

    /// Bytes that came over the wire for requests that are complete, headers included.
    pub fn transferred(&self) -> u64 {
        self.events
            .iter()
            .filter(|event| event["method"] == "Network.loadingFinished")
            .filter_map(|event| event["params"]["encodedDataLength"].as_f64())
            .map(|bytes| bytes as u64)
            .sum()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to end, it takes its helpers along; killed, they notice that nobody talks to them.
        self.session.clear();
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    PROGRAMS
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)))
        .find(|path| path.is_file())
}

fn decode_base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut buffer, mut bits) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("no base64: {letter}"),
        };
        buffer = (buffer << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
        }
    }
    Ok(bytes)
}
