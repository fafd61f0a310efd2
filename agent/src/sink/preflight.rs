//! What can be said of a sink before anything is sent: whether its files can be used, and where it sends.

use std::{path::Path, time::Duration};

use super::{
    http,
    secret::{Secret, SetupError},
    settings::{HttpSettings, Kind, SinkSettings, Transport},
    tls::{self, Use},
};

/// No connection is made.
const NO_TIME: Duration = Duration::from_secs(1);

/// Where records go, for people.
pub fn destination(settings: &SinkSettings) -> String {
    match &settings.kind {
        Kind::Jsonl(jsonl) => jsonl.path.display().to_string(),
        Kind::Webhook(webhook) => webhook.url.clone(),
        Kind::Otlp(otlp) => otlp.url.clone(),
        Kind::Alertmanager(alertmanager) => alertmanager.urls.join(", "),
        Kind::Syslog(syslog) => {
            let transport = match syslog.transport {
                Transport::Tls => "tls",
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            };
            format!("{}:{} ({transport})", syslog.host, syslog.port)
        }
    }
}

/// Reads the files that a sink needs, as its first attempt will. Blocks.
///
/// # Errors
///
/// What would keep every attempt from succeeding, as things are now.
pub fn files(settings: &SinkSettings) -> Result<(), SetupError> {
    match &settings.kind {
        Kind::Jsonl(jsonl) => match jsonl.path.parent() {
            Some(directory) if !directory.is_dir() => Err(missing(directory)),
            Some(_) | None => Ok(()),
        },
        Kind::Webhook(webhook) => {
            webhook.hmac_key_file.as_deref().map(Secret::read_line).transpose()?;
            client(&webhook.http, &[&webhook.url])
        }
        Kind::Otlp(otlp) => client(&otlp.http, &[&otlp.url]),
        Kind::Alertmanager(alertmanager) => {
            let urls: Vec<&str> = alertmanager.urls.iter().map(String::as_str).collect();
            client(&alertmanager.http, &urls)
        }
        Kind::Syslog(syslog) if syslog.transport == Transport::Tls => {
            tls::client_config(&syslog.tls, Use::Tls).map(drop)
        }
        Kind::Syslog(_) => Ok(()),
    }
}

fn client(settings: &HttpSettings, urls: &[&str]) -> Result<(), SetupError> {
    http::client(settings, NO_TIME, http::use_of(urls.iter().copied())).map(drop)
}

fn missing(directory: &Path) -> SetupError {
    SetupError::file(directory, "is not a directory; create it first")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::{clock::WallTime, config::Config};

    fn sink(text: &str) -> SinkSettings {
        let text = format!("[[sink]]\nname = \"s\"\n{text}");
        let (config, _) = Config::parse(&text, "homeport.toml", WallTime(0)).expect("valid");
        config.sinks.into_iter().next().expect("a sink")
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_what_is_accepted() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let token = directory.path().join("token");
        fs::write(&token, "secret\n").expect("written");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).expect("a mode");
        let webhook = sink(&format!(
            "kind = \"webhook\"\nurl = \"https://siem.example.org/in\"\ntoken_file = \"{}\"\n",
            token.display()
        ));
        assert_eq!(destination(&webhook), "https://siem.example.org/in");
        let error = files(&webhook).expect_err("others can read it").to_string();
        assert!(error.contains("has mode 0644") && error.contains("0600"), "{error}");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("a mode");
        files(&sink("kind = \"syslog\"\naddress = \"loghost:514\"\ntransport = \"udp\"\n"))
            .expect("no files");
        let file = sink("kind = \"jsonl\"\npath = \"/no/such/records.jsonl\"\n");
        assert_eq!(
            files(&file).expect_err("no directory").to_string(),
            "/no/such: is not a directory; create it first"
        );
    }
}
