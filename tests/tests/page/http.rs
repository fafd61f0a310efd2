//! The answers, asked for as nobody should.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use homeport::{config::PageTls, page::MAX_CONNECTIONS};
use homeport_tests::{
    page::fixture::{Fixture, Scale},
    patience::patient,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

const TOKEN: &str = "correct-horse-battery-staple";

/// Sends bytes and reads until the other end closes.
fn exchange(address: SocketAddr, request: &[u8]) -> Result<String> {
    let mut stream = connect(address)?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    // What is not read may be reset; what came before counts.
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patient(Duration::from_secs(60))))?;
    Ok(stream)
}

fn request(method: &str, path: &str, more: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n").into_bytes()
}

fn status(answer: &str) -> Option<u16> {
    answer.split(' ').nth(1)?.parse().ok()
}

fn check(address: SocketAddr, request: &[u8], expected: u16) -> Result<String> {
    let answer = exchange(address, request)?;
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    ensure!(status(&answer) == Some(expected), "{expected} expected for {shown:?}:\n{answer}");
    Ok(answer)
}

fn body(answer: &str) -> Result<Value> {
    let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
    serde_json::from_str(body).with_context(|| format!("JSON expected: {body:?}"))
}

#[test]
fn everything_is_answered_and_says_what_a_browser_may_do() -> Result<()> {
    let fixture = Fixture::serve(Scale::Violation, |_| {})?;
    let address = fixture.address();
    for path in ["/", "/assets/main.js", "/assets/style.css", "/assets/icon.svg"] {
        let answer = check(address, &request("GET", path, ""), 200)?;
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            ensure!(answer.to_lowercase().contains(header), "{path} lacks {header}:\n{answer}");
        }
    }
    let view = body(&check(address, &request("GET", "/api/v1/status", ""), 200)?)?;
    ensure!(view["host"] == "storage-1" && view["interfaces"][0]["name"] == "eth0", "{view:#}");
    let view = body(&check(address, &request("GET", "/api/v1/flows", ""), 200)?)?;
    ensure!(view["flows"].as_array().is_some_and(|flows| flows.len() == 28), "{view:#}");
    for range in ["hour", "day", "week"] {
        let path = format!("/api/v1/history?range={range}");
        let view = body(&check(address, &request("GET", &path, ""), 200)?)?;
        ensure!(view["range"] == range, "{view:#}");
    }
    check(address, &request("GET", "/api/v1/history?range=year", ""), 400)?;
    check(address, &request("GET", "/api/v1/history?other=1", ""), 400)?;
    check(address, &request("GET", "/api/v1/episodes/none", ""), 404)?;
    check(address, &request("GET", "/assets/..%2f..%2fetc%2fpasswd", ""), 404)?;
    check(address, &request("GET", "/etc/passwd", ""), 404)?;

    let answer = check(address, &request("HEAD", "/", ""), 200)?;
    ensure!(answer.ends_with("\r\n\r\n"), "no body expected:\n{answer}");
    let tag = answer.lines().find_map(|line| line.strip_prefix("etag: ")).context("a tag")?.to_owned();
    check(address, &request("GET", "/", &format!("If-None-Match: {tag}\r\n")), 304)?;
    Ok(())
}

#[test]
fn nothing_but_reading_is_accepted() -> Result<()> {
    let fixture = Fixture::serve(Scale::Calm, |_| {})?;
    let address = fixture.address();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
        let target = if method == "CONNECT" { "localhost:80" } else { "/api/v1/status" };
        let answer = check(address, &request(method, target, ""), 405)?;
        ensure!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }
    // Without a token there is nobody to log in.
    check(address, &request("POST", "/login", "Content-Length: 0\r\n"), 405)?;
    check(address, &request("GET", "/", "Content-Length: 5000000000\r\n"), 413)?;
    check(address, &request("GET", "/", "Content-Length: 3\r\n"), 400)?;
    check(address, &request("GET", "/", "Transfer-Encoding: chunked\r\n"), 400)?;
    Ok(())
}

#[test]
fn other_names_and_other_sites_are_refused() -> Result<()> {
    let fixture = Fixture::serve(Scale::Calm, |settings| settings.host_names.push("storage-1".to_owned()))?;
    let address = fixture.address();
    for (host, expected) in [
        ("127.0.0.1:9646", 200),
        ("[::1]", 200),
        ("LOCALHOST:1", 200),
        ("storage-1", 200),
        ("rebound.example.org", 421),
        ("127.0.0.1.example.org", 421),
        ("storage-1.example.org", 421),
    ] {
        let request = format!("GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        check(address, request.as_bytes(), expected)?;
    }
    check(address, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400)?;
    check(
        address,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        400,
    )?;
    check(
        address,
        &request("GET", "/api/v1/status", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n"),
        403,
    )?;
    check(address, &request("GET", "/", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"), 200)?;
    check(address, &request("GET", "/api/v1/status", "Sec-Fetch-Site: same-origin\r\n"), 200)?;
    Ok(())
}

#[test]
fn malformed_and_oversized_requests_get_their_status() -> Result<()> {
    let fixture = Fixture::serve(Scale::Calm, |_| {})?;
    let address = fixture.address();
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let answer = exchange(address, nonsense)?;
        ensure!(matches!(status(&answer), Some(400 | 505)), "{nonsense:?}:\n{answer}");
    }
    let large = format!("X-Large: {}\r\n", "x".repeat(100_000));
    check(address, &request("GET", "/", &large), 431)?;
    let many: String = (0..200).map(|number| format!("X-{number}: x\r\n")).collect();
    check(address, &request("GET", "/", &many), 431)?;
    let long = format!("/{}", "x".repeat(100_000));
    let answer = exchange(address, &request("GET", &long, ""))?;
    ensure!(matches!(status(&answer), Some(414 | 431)), "{answer}");
    // And it still answers.
    check(address, &request("GET", "/api/v1/status", ""), 200)?;
    Ok(())
}

#[test]
fn a_slow_request_is_told_so_and_ended() -> Result<()> {
    let fixture = Fixture::serve(Scale::Calm, |_| {})?;
    let mut stream = connect(fixture.address())?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: loc")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(status(&answer) == Some(408), "408 expected: {answer:?}");
    Ok(())
}

#[test]
fn a_thousand_connections_are_bounded_and_leave_room_when_they_go() -> Result<()> {
    // Both ends are in this process.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let fixture = Fixture::serve(Scale::Calm, |_| {})?;
    let address = fixture.address();
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        let mut stream = connect(address)?;
        // Some are turned away before they have said anything.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n");
        idle.push(stream);
    }
    let turned_away = idle
        .iter_mut()
        .map(|stream| {
            stream.set_nonblocking(true)?;
            Ok(stream)
        })
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|stream| {
            let mut buffer = [0; 64];
            (&mut &**stream)
                .read(&mut buffer)
                .is_ok_and(|length| buffer[..length].starts_with(b"HTTP/1.1 503"))
        })
        .count();
    println!("of 1,000 connections at once, {turned_away} were turned away at once with 503");
    ensure!(turned_away <= 1_000 - MAX_CONNECTIONS, "{turned_away} turned away, though there was room");
    drop(idle);
    let deadline = Instant::now() + patient(Duration::from_secs(60));
    loop {
        let answer = exchange(address, &request("GET", "/api/v1/status", ""))?;
        if status(&answer) == Some(200) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no room after all have gone: {answer}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn with_a_token_nothing_is_told_to_others() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("token");
    fs::write(&file, TOKEN)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let fixture = Fixture::serve(Scale::Calm, |settings| settings.token_file = Some(file))?;
    let address = fixture.address();
    for path in
        ["/api/v1/status", "/api/v1/flows", "/api/v1/episodes", "/api/v1/history", "/api/v1/events", "/other"]
    {
        let answer = check(address, &request("GET", path, ""), 401)?;
        ensure!(answer.contains("www-authenticate: Bearer"), "{answer}");
        for wrong in [
            "Authorization: Bearer wrong-horse-battery-staple\r\n",
            "Authorization: Bearer\r\n",
            "Authorization: Basic Og==\r\n",
            "Cookie: homeport=0000\r\n",
            "Cookie: homeport=\r\n",
        ] {
            check(address, &request("GET", path, wrong), 401)?;
        }
    }
    let answer = check(address, &request("GET", "/", ""), 303)?;
    ensure!(answer.contains("location: /login"), "{answer}");
    check(address, &request("GET", "/login", ""), 200)?;
    check(address, &request("GET", "/api/v1/status", &format!("Authorization: Bearer {TOKEN}\r\n")), 200)?;

    let login = |token: &str| {
        let body = format!("token={token}\r\n");
        let head = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
        [request("POST", "/login", &head), body.into_bytes()].concat()
    };
    let answer = check(address, &login("wrong-horse-battery-staple"), 401)?;
    ensure!(!answer.to_lowercase().contains("set-cookie"), "{answer}");
    let answer = check(address, &login(TOKEN), 303)?;
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).context("a cookie")?;
    ensure!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    ensure!(!cookie.contains(TOKEN), "the cookie gives the token away: {cookie}");
    let session = cookie.split(';').next().unwrap_or_default();
    check(address, &request("GET", "/api/v1/status", &format!("Cookie: a=b; {session}\r\n")), 200)?;
    let foreign = [request(
        "POST",
        "/login",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nContent-Length: 0\r\n",
    )];
    check(address, &foreign[0], 403)?;
    check(address, &request("POST", "/login", "Content-Length: 100000\r\n"), 413)?;
    check(address, &request("PUT", "/login", ""), 405)?;
    Ok(())
}

#[test]
fn over_tls_it_answers_those_who_know_its_certificate() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
    openssl.arg("-keyout").arg(path("key")).arg("-out").arg(path("certificate")).stderr(Stdio::null());
    ensure!(openssl.status()?.success(), "openssl could not make a certificate");
    fs::write(path("token"), TOKEN)?;
    fs::set_permissions(path("token"), fs::Permissions::from_mode(0o600))?;
    let fixture = Fixture::serve(Scale::Calm, |settings| {
        settings.token_file = Some(path("token"));
        settings.tls = Some(PageTls { certificate: path("certificate"), key: path("key") });
    })?;
    let url = format!("https://localhost:{}/api/v1/status", fixture.address().port());
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(path("certificate"));
    curl.args(["--header", &format!("Authorization: Bearer {TOKEN}"), &url]);
    let answer = curl.output()?;
    ensure!(answer.status.success(), "curl: {}", String::from_utf8_lossy(&answer.stderr));
    let view: Value = serde_json::from_slice(&answer.stdout)?;
    ensure!(view["host"] == "storage-1", "{view:#}");
    let answer = exchange(fixture.address(), &request("GET", "/", ""))?;
    ensure!(status(&answer).is_none(), "no answer without TLS expected:\n{answer}");
    Ok(())
}

#[test]
fn changes_are_told_as_they_happen_and_again_to_who_comes_back() -> Result<()> {
    let fixture = Fixture::serve(Scale::Violation, |_| {})?;
    let address = fixture.address();
    let mut stream = connect(address)?;
    stream.write_all(&request("GET", "/api/v1/events", "Accept: text/event-stream\r\n"))?;
    let mut seen = String::new();
    let mut read_until = |words: &str| -> Result<String> {
        let mut buffer = [0; 16_384];
        while !seen.contains(words) {
            let length = stream.read(&mut buffer)?;
            ensure!(length > 0, "the stream ended without {words}:\n{seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        Ok(seen.clone())
    };
    read_until("event: hello")?;
    read_until("event: status")?;
    let (record, id) = fixture.finding(77, "open");
    fixture.records.push(&record.to_string());
    let seen = read_until(&id)?;
    let event = seen.split("\n\n").find(|event| event.contains(&id)).context("the event")?;
    ensure!(event.contains("event: episode"), "{event}");

    // Whoever comes back with the id before it is told again; with one of another process, to ask for everything.
    let hello = seen.split("\n\n").find(|event| event.contains("event: hello")).context("hello")?;
    let before = hello.lines().find_map(|line| line.strip_prefix("id: ")).context("an id")?;
    for (last, expected) in
        [(before, id.as_str()), ("another.3", "event: reset"), ("nonsense", "event: reset")]
    {
        let mut stream = connect(address)?;
        stream.write_all(&request("GET", "/api/v1/events", &format!("Last-Event-ID: {last}\r\n")))?;
        let mut seen = String::new();
        let mut buffer = [0; 16_384];
        while !seen.contains(expected) {
            let length = stream.read(&mut buffer)?;
            ensure!(length > 0, "the stream ended without {expected}:\n{seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }
    Ok(())
}
