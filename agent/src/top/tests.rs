//! Screens as they are drawn, cell by cell.

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::{Color, Modifier},
};
use serde_json::{Value, json};

use super::{
    draw::{Paint, draw},
    once,
    rows::Sample,
    state::{Order, State, View, Wish},
};

fn volume(wire: u64) -> Value {
    json!({"wire_bytes": wire, "payload_bytes": wire / 2, "packets": 3})
}

fn flow(owner: &str, remote: &str, location: &str, verdict: &str, wire: u64) -> Value {
    let mut flow = json!({
        "owner": {
            "label": owner, "kind": "process", "pid": 7, "start_boot_ns": 1, "exe": "/bin/x", "command_line": "x",
            "uid": 0, "user": null, "login_uid": null, "unit": null, "container": null, "cgroup": null,
            "quality": "exact",
        },
        "remote": remote, "remote_port": 443, "local": null, "local_port": 1, "protocol": "tcp", "service_port": 443,
        "initiator": "local", "sensor": "socket", "location": location, "country": null, "verdict": verdict,
        "rule": null, "exception": null, "policy": "default", "reason": "", "control_bytes": 0, "violating_bytes": 0,
        "first_seen": "", "last_seen": "", "pre_existing": false, "closed": false,
    });
    for (key, value) in volume(wire).as_object().expect("an object") {
        flow[key] = value.clone();
    }
    flow
}

fn class(location: &str, verdict: &str, wire: u64) -> Value {
    let mut class = volume(wire);
    class["location"] = location.into();
    class["country"] = Value::Null;
    class["verdict"] = verdict.into();
    class["owner_class"] = "process".into();
    class
}

/// What the agent says at this second.
fn sample(second: u64, flows: Vec<Value>, violations: u64) -> Sample {
    let time = json!({"wall_us": 1500, "processor_us": 900});
    let total: u64 = flows.iter().map(|flow| flow["wire_bytes"].as_u64().expect("a number")).sum();
    let view = json!({
        "schema": 1, "time": format!("2026-01-02T03:04:{second:02}.000Z"), "started": "2026-01-02T00:00:00.500Z",
        "host": "storage-1", "policy_hash": "8a44", "rows": flows.len(), "flows": flows,
        "table": {"added": 2, "retired": 0, "evicted": 0, "overflowed_readings": 0},
        "classes": [class("US", "approved", 9_000), class("site \u{1b}[2Joops", "violation", 40)],
        "overflow": [], "retired": volume(0), "totals": volume(total), "losses": [], "interfaces": [],
        "attribution": {"socket": 872, "owned": 800, "unnamed": 72, "rest": 0},
        "slots": {"in_use": 2, "capacity": 100},
        "sweep": {"last": time, "longest": time, "read_last": time, "read_longest": time}, "degraded": [],
    });
    let episode = json!({
        "id": "e1", "kind": "transfer", "severity": "high", "policy": "default", "owner": "rsync\u{1b}]0;x\u{7}",
        "place": "DE", "initiator": "local", "first_seen": "2026-01-02T03:00:00.000Z", "last_seen": "",
        "wire_bytes": 4_000_000,
    });
    let status = json!({
        "schema": 1, "time": "", "started": "", "version": "1", "host": "storage-1", "mode": "alert",
        "policies": ["default"], "policy_hash": "8a44", "coverage": "covered", "reasons": [], "violations": violations,
        "exceptions_in_use": 0, "coverage_findings": 0,
        "episodes": vec![episode; violations as usize], "sinks": [], "databases": [],
    });
    Sample {
        flows: serde_json::from_value(view).expect("a view"),
        status: serde_json::from_value(status).expect("a view"),
    }
}

fn flows(nginx: u64, rsync: u64) -> Vec<Value> {
    vec![
        flow("nginx.service/nginx", "203.0.113.7", "US", "approved", nginx),
        flow("nginx.service/nginx", "2001:db8::7", "US", "approved", 1_000),
        flow("backup.service/rsync", "198.51.100.9", "DE", "violation", rsync),
        flow("evil\u{1b}[31m\u{202e}name", "192.0.2.1", "FR", "excepted", 77),
    ]
}

fn state() -> State {
    let mut state = State::default();
    state.take(Ok(sample(1, flows(1_000, 0), 1)));
    state.take(Ok(sample(3, flows(5_000, 3_000_000), 1)));
    state
}

fn screen(state: &mut State, width: u16, height: u16, colours: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, state, Paint(colours))).expect("drawn");
    terminal
}

fn lines(state: &mut State) -> Vec<String> {
    text(&screen(state, 80, 24, true))
}

fn text(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..buffer.area.height).map(line).collect()
}

fn press(state: &mut State, code: KeyCode) -> Wish {
    state.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn eighty_by_twenty_four_says_it_all() {
    let lines = lines(&mut state());
    assert_eq!(lines[0], "OUT OF POLICY: 1 violation is open  COVERED  storage-1");
    assert_eq!(lines[1], "1.5 MB/s now, 3.0 MB since 2026-01-02 00:00:00Z; 4 flows");
    assert_eq!(lines[3], " 1 owners  2 destinations  3 countries  4 violations");
    assert_eq!(lines[5], "  1.5 MB/s    3.0 MB    1.5 MB     1 VIOLATION backup.service/rsync");
    assert_eq!(lines[6], "  2.0 kB/s    6.0 kB    3.0 kB     2 approved  nginx.service/nginx");
    assert_eq!(lines[23], "1 to 3 of 3, by rate  ? help  q quit");
}

#[test]
fn no_control_character_reaches_the_screen() {
    let mut state = state();
    for (view, _) in View::ALL {
        state.view = view;
        let all = lines(&mut state).join("\n");
        assert!(!all.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{all}");
        match view {
            View::Owners => assert!(all.contains(r"evil\u{1b}[31m\u{202e}name"), "{all}"),
            View::Countries => assert!(all.contains(r"site \u{1b}[2Joops"), "{all}"),
            View::Violations => assert!(all.contains(r"rsync\u{1b}]0;x\u{7} to DE"), "{all}"),
            View::Destinations => assert!(all.contains("-> 2001:db8::7 tcp/443"), "{all}"),
        }
    }
    let plain = once(View::Owners, Order::Name, "", sample(1, flows(1, 1), 0), sample(2, flows(2, 2), 0));
    assert!(!plain.contains('\u{1b}'), "{plain}");
    assert!(plain.contains("1 B/s"), "{plain}");
}

#[test]
fn keys_sort_filter_pause_and_help() {
    let mut state = state();
    let first = |state: &mut State| lines(state)[5].rsplit_once("  ").expect("columns").1.trim().to_owned();
    assert_eq!(press(&mut state, KeyCode::Char('s')), Wish::GoOn);
    assert_eq!(state.order, Order::Bytes);
    press(&mut state, KeyCode::Char('s'));
    press(&mut state, KeyCode::Char('s'));
    assert_eq!(state.order, Order::Name);
    assert!(first(&mut state).contains("backup.service/rsync"));

    press(&mut state, KeyCode::Char('/'));
    for letter in "NGinx".chars() {
        press(&mut state, KeyCode::Char(letter));
    }
    // Letters that are keys elsewhere went to the filter.
    press(&mut state, KeyCode::Char('q'));
    assert!(lines(&mut state).join("\n").contains("nothing contains the filter"));
    press(&mut state, KeyCode::Backspace);
    press(&mut state, KeyCode::Enter);
    assert_eq!(state.rows().len(), 1);
    press(&mut state, KeyCode::Esc);
    assert_eq!(state.rows().len(), 3);

    press(&mut state, KeyCode::Char('p'));
    state.take(Ok(sample(9, Vec::new(), 0)));
    let paused = lines(&mut state);
    assert!(paused[23].starts_with("PAUSED") && paused[1].contains("3.0 MB"), "{paused:#?}");
    press(&mut state, KeyCode::Char('p'));
    state.take(Ok(sample(9, Vec::new(), 0)));
    let empty = lines(&mut state);
    assert!(empty[0].starts_with("IN POLICY  COVERED"), "{empty:#?}");

    press(&mut state, KeyCode::Char('?'));
    assert!(lines(&mut state).join("\n").contains("any key goes back"));
    press(&mut state, KeyCode::Char('x'));
    assert!(!lines(&mut state).join("\n").contains("any key goes back"));
    assert_eq!(press(&mut state, KeyCode::Char('q')), Wish::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    state.is_typing = true;
    assert_eq!(state.key(interrupt), Wish::Quit, "also while typing");
}

#[test]
fn an_agent_that_is_gone_is_said_and_the_last_answer_stays() {
    let mut state = state();
    state.take(Err("no agent answers on /run/x\u{1b}".to_owned()));
    let lines = lines(&mut state);
    assert_eq!(lines[2], r"NO ANSWER since 2026-01-02 03:04:03Z: no agent answers on /run/x\u{1b}");
    assert!(lines[5].contains("backup.service/rsync"));
}

#[test]
fn colours_only_where_they_are_wanted() {
    for colours in [true, false] {
        let terminal = screen(&mut state(), 80, 24, colours);
        let cell = &terminal.backend().buffer()[(0, 0)];
        assert_eq!(cell.fg == Color::Red, colours);
        assert!(cell.modifier.contains(Modifier::BOLD), "told without colour, too");
        let coloured = terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(coloured, colours);
    }
}

#[test]
fn every_size_is_drawn_and_scrolling_ends() {
    let many = (0..300).map(|n| flow(&format!("owner-{n:03}"), "192.0.2.1", "US", "approved", 1_000 - n));
    let mut state = State::default();
    state.take(Ok(sample(1, many.collect(), 0)));
    for (width, height) in [(1, 1), (10, 3), (20, 5), (80, 24), (300, 100)] {
        for code in [KeyCode::PageDown, KeyCode::Char('?'), KeyCode::Char('x'), KeyCode::Tab] {
            press(&mut state, code);
            screen(&mut state, width, height, true);
        }
    }
    state.view = View::Owners;
    for _ in 0..100 {
        press(&mut state, KeyCode::PageDown);
    }
    let lines = lines(&mut state);
    assert!(lines[22].contains("owner-299"), "{lines:#?}");
    press(&mut state, KeyCode::Home);
    assert!(self::lines(&mut state)[5].contains("owner-000"));
}

#[test]
fn a_rate_that_cannot_be_known_is_none() {
    let mut state = State::default();
    state.take(Ok(sample(1, flows(1_000, 5), 0)));
    assert!(state.rows().iter().all(|row| row.rate.is_none()), "one look is no rate");
    // The agent has begun anew: less than before is nothing, not an underflow.
    state.take(Ok(sample(2, flows(10, 5), 0)));
    assert!(state.rows().iter().all(|row| row.rate == Some(0)));
    // Of a table that is cut nobody knows where a new row was.
    let mut cut = sample(3, vec![flow("late", "192.0.2.8", "US", "approved", 9_000)], 0);
    cut.flows.rows = 5_000;
    state.take(Ok(cut));
    assert_eq!(state.rows()[0].rate, None);
}
