//! `[page]`: the status page.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    keys,
    reader::{Section, parsed},
    report::Report,
    values,
};

/// The status page: where it listens, and who may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it listens; `None`: there is no page.
    pub listen: Option<SocketAddr>,
    /// File with the token that readers have to show. Always set unless `listen` is a loopback address.
    pub token_file: Option<PathBuf>,
    /// Certificates and key; always set unless `listen` is a loopback address.
    pub tls: Option<PageTls>,
    /// Names that browsers reach it by, in lower case, besides addresses and `localhost`.
    pub host_names: Vec<String>,
}

/// Files for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageTls {
    /// The chain of certificates in PEM, its own first.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9646))),
            token_file: None,
            tls: None,
            host_names: Vec::new(),
        }
    }
}

pub(super) fn read(report: &mut Report<'_>, root: &mut Section<'_>) -> Page {
    let default = Page::default();
    let Some(mut section) = root.section(report, "page", &keys::PAGE) else { return default };
    let listen = section.placed(report, "listen", |report, item| parsed(report, item, values::listen));
    let path = |report: &mut Report<'_>, item: &_| parsed(report, item, values::path);
    let token_file = section.optional(report, "token_file", path);
    let certificate = section.placed(report, "certificate", path);
    let key = section.placed(report, "key", path);
    let host_names =
        section.list(report, "host_names", |report, item| parsed(report, item, values::host_name));
    section.finish(report);

    let tls = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(PageTls { certificate: certificate.value, key: key.value }),
        (Some(certificate), None) => {
            report.fault(&certificate.place, "is without a key", "page.key as well");
            None
        }
        (None, Some(key)) => {
            report.fault(&key.place, "is without a certificate", "page.certificate as well");
            None
        }
        (None, None) => None,
    };
    if let Some(listen) = &listen
        && listen.value.is_some_and(|address| !address.ip().is_loopback())
    {
        // Whoever can reach it could read who sends what to where, and on the way everybody could.
        let mut missing = Vec::new();
        if token_file.is_none() {
            missing.push("page.token_file");
        }
        if tls.is_none() {
            missing.push("page.certificate and page.key");
        }
        if !missing.is_empty() {
            let problem = "is not a loopback address, and the page would be open to everybody";
            let accepted =
                format!("a loopback address such as 127.0.0.1:9646, or {} as well", missing.join(", "));
            report.fault(&listen.place, problem, accepted);
        }
    }
    Page {
        listen: listen.map_or(default.listen, |listen| listen.value),
        token_file,
        tls,
        host_names: host_names.into_iter().map(|name| name.value).collect(),
    }
}
