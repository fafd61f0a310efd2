//! The files of the page, embedded: no file of the host is served, whatever is asked for.

use std::sync::{LazyLock, OnceLock};

use sha2::{Digest as _, Sha256};

use super::routes::compress;

/// One file.
pub(super) struct Asset {
    name: &'static str,
    pub(super) content_type: &'static str,
    parts: &'static [&'static str],
    made: OnceLock<Made>,
}

struct Made {
    content: &'static [u8],
    compressed: &'static [u8],
    tag: String,
}

impl Asset {
    const fn new(name: &'static str, content_type: &'static str, parts: &'static [&'static str]) -> Self {
        Self { name, content_type, parts, made: OnceLock::new() }
    }

    /// Put together and compressed when it is first asked for, and then kept for the life of the process.
    fn made(&self) -> &Made {
        self.made.get_or_init(|| {
            let content = self.parts.concat().into_bytes();
            let digest = Sha256::digest(&content);
            let hash: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
            let compressed = compress(&content).leak();
            Made { content: content.leak(), compressed, tag: format!("\"{hash}\"") }
        })
    }

    pub(super) fn content(&self) -> &'static [u8] {
        self.made().content
    }

    pub(super) fn compressed(&self) -> &'static [u8] {
        self.made().compressed
    }

    /// Its `ETag`.
    pub(super) fn tag(&self) -> &str {
        &self.made().tag
    }
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Without the map, which comes when the answer is there.
pub(super) static PAGE: Asset = Asset::new("", HTML, &[include_str!("assets/index.html")]);
pub(super) static LOGIN: Asset = Asset::new("", HTML, &[include_str!("assets/login.html")]);
pub(super) static LOGIN_WRONG: LazyLock<Asset> = LazyLock::new(|| {
    let form = include_str!("assets/login.html");
    let (before, after) = form.split_once("<!-- fault -->").unwrap_or((form, ""));
    let fault = "<p class=\"fault\" role=\"alert\">This is not the token.</p>";
    Asset::new("", HTML, vec![before, fault, after].leak())
});

static ASSETS: [Asset; 12] = [
    Asset::new("icon.svg", "image/svg+xml", &[include_str!("assets/icon.svg")]),
    Asset::new("world.svg", "image/svg+xml", &[include_str!("map/world.svg")]),
    Asset::new("style.css", "text/css; charset=utf-8", &[include_str!("assets/style.css")]),
    Asset::new("main.js", SCRIPT, &[include_str!("assets/main.js")]),
    Asset::new("rest.js", SCRIPT, &[include_str!("assets/rest.js")]),
    Asset::new("words.js", SCRIPT, &[include_str!("assets/words.js")]),
    Asset::new("strip.js", SCRIPT, &[include_str!("assets/strip.js")]),
    Asset::new("map.js", SCRIPT, &[include_str!("assets/map.js")]),
    Asset::new("episodes.js", SCRIPT, &[include_str!("assets/episodes.js")]),
    Asset::new("talkers.js", SCRIPT, &[include_str!("assets/talkers.js")]),
    Asset::new("balance.js", SCRIPT, &[include_str!("assets/balance.js")]),
    Asset::new("evidence.js", SCRIPT, &[include_str!("assets/evidence.js")]),
];

/// A file by its name.
pub(super) fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_page_is_less_than_500_kilobytes_on_the_wire() {
        let bytes: usize =
            ASSETS.iter().map(|asset| asset.compressed().len()).sum::<usize>() + PAGE.compressed().len();
        println!("the page with its map, compressed: {bytes} bytes");
        assert!(bytes < 200_000, "{bytes} bytes leave too little for data");
    }

    #[test]
    fn the_page_names_files_that_exist_and_nothing_elsewhere() {
        let page = String::from_utf8_lossy(PAGE.content()).into_owned();
        let login = String::from_utf8_lossy(LOGIN_WRONG.content()).into_owned();
        assert!(login.contains("This is not the token"));
        let map = find("world.svg").expect("the map");
        assert!(String::from_utf8_lossy(map.content()).contains("id=\"m-DE\""));
        let mut sources = vec![page, login];
        sources.extend(ASSETS.iter().map(|asset| String::from_utf8_lossy(asset.content()).into_owned()));
        let mut named = 0;
        for source in &sources {
            for name in source.split("/assets/").skip(1) {
                let name: String =
                    name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
                assert!(find(&name).is_some(), "{name}");
                named += 1;
            }
            for name in source.split("from \"./").skip(1) {
                let name = name.split('"').next().unwrap_or_default();
                assert!(find(name).is_some(), "{name}");
            }
            let outside = source.split("http").skip(1).find(|rest| {
                (rest.starts_with("://") || rest.starts_with("s://"))
                    && !rest.starts_with("://www.w3.org/2000/svg")
            });
            assert_eq!(outside, None);
        }
        assert!(named >= 4, "{named}");
    }
}
