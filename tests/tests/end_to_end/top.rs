//! `homeport top` in a real terminal: keys, sizes, colours, and that the terminal is given back.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use homeport_tests::{
    agent::{binary, eventually},
    lab::{Family, Host},
    running::Running,
    scene::{Scene, scene},
    settings::Settings,
};

use crate::sink_at;

const PATIENCE: Duration = Duration::from_secs(30);

/// A pseudo terminal with `homeport top` in it. `script` makes it; [`vt100`] is what a person would see of it.
struct Terminal {
    script: Child,
    keys: ChildStdin,
    parser: Arc<Mutex<vt100::Parser>>,
    /// Holds what the shell around `homeport top` writes down.
    directory: PathBuf,
}

impl Terminal {
    /// 80 columns, 24 rows.
    fn start(scene: &Scene, name: &str, environment: &str) -> Result<Self> {
        let directory = scene.agent.directory().join(name);
        fs::create_dir(&directory)?;
        let top = format!(
            "{environment} exec {} top countries --socket {}",
            binary()?.display(),
            scene.agent.directory().join("control.sock").display()
        );
        let line = format!(
            "cd {}; tty > tty; stty rows 24 cols 80; stty -g > before; (sh -c 'echo $$ > pid; {top}'); echo $? > code; \
             stty -g > after; touch ended",
            directory.display()
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--command", &line, "/dev/null"]);
        script.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let mut script =
            script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start script")?;
        let keys = script.stdin.take().context("a pipe")?;
        let mut printed = script.stdout.take().context("a pipe")?;
        let parser = Arc::new(Mutex::new(vt100::Parser::new(24, 80, 0)));
        let shared = Arc::clone(&parser);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = printed.read(&mut buffer) {
                shared.lock().expect("no panic").process(&buffer[..length]);
            }
        });
        Ok(Self { script, keys, parser, directory })
    }

    fn screen(&self) -> vt100::Screen {
        self.parser.lock().expect("no panic").screen().clone()
    }

    /// What a person reads, line by line.
    fn lines(&self) -> Vec<String> {
        let screen = self.screen();
        let (_, columns) = screen.size();
        screen.rows(0, columns).map(|line| line.trim_end().to_owned()).collect()
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes())?;
        self.keys.flush().context("type")
    }

    /// Waits until the lines are as they should be.
    fn shows(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        eventually(PATIENCE, || {
            let lines = self.lines();
            ensure!(is_so(&lines), "{what}:\n{}", lines.join("\n"));
            Ok(lines)
        })
    }

    fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        self.parser.lock().expect("no panic").screen_mut().set_size(rows, columns);
        let tty = self.note("tty")?;
        let mut stty = Command::new("stty");
        stty.args(["-F", &tty, "rows", &rows.to_string(), "cols", &columns.to_string()]);
        ensure!(stty.status()?.success(), "stty");
        Ok(())
    }

    fn signal(&self, name: &str) -> Result<()> {
        let killed = Command::new("kill").args([&format!("-{name}"), &self.note("pid")?]).status()?;
        ensure!(killed.success(), "kill");
        Ok(())
    }

    /// The terminal as it was, the cursor there, and the code with which it ended.
    fn is_given_back(&self) -> Result<String> {
        eventually(PATIENCE, || {
            ensure!(self.directory.join("ended").exists(), "it still runs:\n{}", self.lines().join("\n"));
            Ok(())
        })?;
        let (before, after) = (self.note("before")?, self.note("after")?);
        ensure!(before == after, "the terminal was {before} and is {after}");
        eventually(PATIENCE, || {
            let screen = self.screen();
            ensure!(!screen.alternate_screen() && !screen.hide_cursor(), "the screen is not given back");
            Ok(())
        })?;
        self.note("code")
    }

    fn note(&self, name: &str) -> Result<String> {
        let path = self.directory.join(name);
        Ok(fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
    }

    fn has_colours(&self) -> bool {
        let screen = self.screen();
        let (rows, columns) = screen.size();
        (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))).any(|(row, column)| {
            screen.cell(row, column).is_some_and(|cell| cell.fgcolor() != vt100::Color::Default)
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// Sends and keeps the connection: rows of what has ended leave the table.
fn hold(scene: &Scene, to: Host, bytes: u32) -> Result<Running> {
    let at = sink_at(to, Family::V4);
    let line = format!("exec 3> /dev/tcp/{}/{}; head -c {bytes} /dev/zero >&3; read -r", at.ip(), at.port());
    Running::start(scene.lab.command(Host::Storage, "bash").args(["-c", &line]))
}

/// The places of the rows, in order.
fn places(lines: &[String]) -> Vec<&'static str> {
    let sites = [("site:dallas", "US"), ("site:shanghai", "CN"), ("site:frankfurt", "DE")];
    let code = |line: &String| sites.into_iter().find(|(site, _)| line.contains(site)).map(|(_, code)| code);
    lines[5..lines.len() - 1].iter().filter_map(code).collect()
}

#[test]
fn top_sorts_filters_pauses_fits_and_gives_the_terminal_back() {
    scene(&Settings::default(), |scene| {
        let mut held = Vec::new();
        for (host, bytes) in [(Host::Denied, 60_000), (Host::Foreign, 90_000), (Host::Approved, 300_000)] {
            let listener = scene.lab.listener(host, "tcp-sink", sink_at(host, Family::V4), "")?;
            held.push((listener, hold(scene, host, bytes)?));
        }
        let mut terminal = Terminal::start(scene, "colours", "")?;
        let lines = terminal.shows("both violations and every place", |lines| {
            lines[0].starts_with("OUT OF POLICY: 2 violations are open") && places(lines).len() == 3
        })?;
        ensure!(lines.len() == 24 && lines[23].contains("1 to 3 of 3, by rate"), "{lines:#?}");
        ensure!(terminal.has_colours() && terminal.screen().alternate_screen(), "{lines:#?}");

        terminal.press("s")?;
        terminal.shows("by bytes", |lines| {
            lines[23].contains("by bytes") && places(lines) == ["US", "DE", "CN"]
        })?;
        terminal.press("s")?;
        terminal.shows("what is against policy first", |lines| places(lines) == ["DE", "CN", "US"])?;

        terminal.press("/viol")?;
        terminal.shows("what is typed is shown, and filters at once", |lines| {
            lines[23].starts_with("/viol_") && places(lines) == ["DE", "CN"]
        })?;
        // What quits elsewhere is a letter here.
        terminal.press("q")?;
        terminal.shows("nothing", |lines| {
            lines.iter().any(|line| line.contains("nothing contains the filter"))
        })?;
        terminal.press("\u{7f}\r")?;
        terminal.shows("it is kept", |lines| {
            lines[23].contains("by verdict, filter \"viol\"") && places(lines) == ["DE", "CN"]
        })?;
        terminal.press("\u{1b}")?;
        terminal.shows("all again", |lines| places(lines).len() == 3)?;

        terminal.press("p")?;
        let paused = terminal.shows("paused", |lines| lines[23].starts_with("PAUSED"))?;
        let _more = hold(scene, Host::Approved, 700_000)?;
        eventually(PATIENCE, || {
            ensure!(scene.agent.flows()?.accounted_bytes() > 1_000_000, "not counted yet");
            Ok(())
        })?;
        thread::sleep(Duration::from_secs(2));
        ensure!(terminal.lines() == paused, "it goes on while it is paused: {:#?}", terminal.lines());
        terminal.press("p")?;
        terminal.shows("it goes on", |lines| lines[5..].iter().any(|line| line.contains("1.0 MB")))?;

        terminal.press("?")?;
        terminal.shows("help", |lines| lines.iter().any(|line| line.contains("any key goes back")))?;
        terminal.press("x4")?;
        terminal.shows("violations", |lines| {
            ["critical transfer since", "high transfer since"]
                .iter()
                .all(|words| lines.iter().any(|line| line.contains(words)))
        })?;
        terminal.press("3")?;

        // Two columns: the emulator itself fails where a wide character finds no room.
        for (rows, columns) in [(40, 132), (6, 30), (2, 2), (24, 80)] {
            terminal.resize(rows, columns)?;
            if rows > 10 {
                terminal.shows("the last line is the footer", |lines| {
                    lines.len() == usize::from(rows) && lines[usize::from(rows) - 1].contains("q quit")
                })?;
            } else {
                thread::sleep(Duration::from_millis(500));
            }
        }

        terminal.signal("TERM")?;
        let code = terminal.is_given_back()?;
        ensure!(code == "0", "it was asked to end: {code}");

        let mut terminal = Terminal::start(scene, "plain", "NO_COLOR=1")?;
        terminal.shows("every place", |lines| places(lines).len() == 3)?;
        ensure!(!terminal.has_colours(), "no colours are wanted");
        terminal.press("q")?;
        let code = terminal.is_given_back()?;
        ensure!(code == "0", "somebody has quit: {code}");

        // An agent that goes away is told, and does not end it.
        let mut terminal = Terminal::start(scene, "left", "")?;
        terminal.shows("every place", |lines| places(lines).len() == 3)?;
        ensure!(scene.agent.stop()?.success(), "a good end");
        terminal.shows("told", |lines| lines[2].starts_with("NO ANSWER since"))?;
        ensure!(!terminal.directory.join("ended").exists(), "it goes on");
        terminal.press("\u{3}")?;
        terminal.is_given_back()?;
        Ok(())
    });
}
