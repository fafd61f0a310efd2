//! In a real browser, with a synthetic agent behind it.

use std::{fs, path::Path, process::Command, time::Instant};

use anyhow::{Result, ensure};
use homeport_tests::page::{
    browser::{Browser, View},
    fixture::{Fixture, Scale},
};
use serde_json::Value;

const WIDE: View = View { width: 1440, height: 900, dark: false };

fn start() -> Result<Browser> {
    Browser::start(|program| Command::new(program))
}

/// Nothing in the console, no request to anybody else.
fn check_quiet(browser: &Browser, url: &str) -> Result<()> {
    let complaints = browser.complaints();
    ensure!(complaints.is_empty(), "the browser complains: {complaints:#?}");
    let foreign: Vec<&str> = browser
        .requests()
        .into_iter()
        .filter(|request| !request.starts_with(url) && !request.starts_with("about:"))
        .collect();
    ensure!(foreign.is_empty(), "requests to others: {foreign:?}");
    Ok(())
}

#[test]
fn screenshots() -> Result<()> {
    let mut browser = start()?;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/docs/page");
    let writes = std::env::var_os("HOMEPORT_WRITE_DOCS").is_some();
    for (scale, name) in [(Scale::Violation, "violation"), (Scale::Calm, "in-policy")] {
        let fixture = Fixture::serve(scale, |_| {})?;
        for (width, height) in [(1440, 900), (1024, 768), (390, 844)] {
            for dark in [false, true] {
                if scale == Scale::Calm && (width != 1440 || dark) {
                    continue;
                }
                browser.set_view(View { width, height, dark })?;
                browser.open(&fixture.url())?;
                browser.eventually("document.querySelector('#talker-table tbody').children.length > 0")?;
                let wide = browser.evaluate("document.documentElement.scrollWidth <= innerWidth")?;
                ensure!(wide == true, "the page is wider than {width} pixels");
                if scale == Scale::Violation {
                    browser.evaluate("document.querySelector('.episode').click()")?;
                    browser.eventually("document.querySelector('.details dl') !== null")?;
                }
                let image = browser.screenshot()?;
                ensure!(image.starts_with(b"RIFF"), "an image in WebP expected");
                if writes {
                    fs::create_dir_all(&directory)?;
                    let scheme = if dark { "dark" } else { "light" };
                    fs::write(directory.join(format!("{name}-{width}-{scheme}.webp")), image)?;
                }
            }
        }
        check_quiet(&browser, &fixture.url())?;
        browser.events.clear();
    }
    Ok(())
}
