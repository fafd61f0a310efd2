//! TLS of the status page, by rustls: nothing of the system's libraries.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::config::PageTls;

/// How often files are looked at, at most.
const LOOK: Duration = Duration::from_secs(10);

/// A certificate that follows its files: those that renew certificates replace them while the agent runs.
pub(super) struct Tls {
    files: PageTls,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    changed: Option<(SystemTime, SystemTime)>,
    looked: Instant,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or do not fit each other.
    pub(super) fn open(files: PageTls) -> io::Result<Self> {
        let current = Current { acceptor: load(&files)?, changed: changed(&files), looked: Instant::now() };
        Ok(Self { files, current: Mutex::new(current) })
    }

    /// What the next connection is accepted with. A pair of files that cannot be used changes nothing.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK {
            current.looked = Instant::now();
            let changed = changed(&self.files);
            if changed != current.changed {
                match load(&self.files) {
                    Ok(acceptor) => {
                        current.acceptor = acceptor;
                        tracing::info!("the certificate of the status page was read again");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the certificate of the status page stays as it was")
                    }
                }
                current.changed = changed;
            }
        }
        current.acceptor.clone()
    }
}

fn changed(files: &PageTls) -> Option<(SystemTime, SystemTime)> {
    let time = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    Some((time(&files.certificate)?, time(&files.key)?))
}

fn load(files: &PageTls) -> io::Result<TlsAcceptor> {
    let fault = |what: &str, path: &Path, error: &dyn std::fmt::Display| {
        io::Error::other(format!("page.{what} {}: {error}", path.display()))
    };
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault("certificate", &files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| fault("key", &files.key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| fault("certificate", &files.certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
