//! Whom sinks trust, and who they are: rustls, with the host's certification authorities or an own file of them.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{
    secret::{Secret, SetupError},
    settings::TlsSettings,
};

/// Whether anybody will have to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Connections are encrypted.
    Tls,
    /// They are not: a bare host without certification authorities is no fault.
    Plain,
}

/// Reads the files and makes a configuration of them. Blocks.
///
/// # Errors
///
/// When a file cannot be used, or there is nobody to trust.
pub fn client_config(settings: &TlsSettings, used: Use) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(ring::default_provider());
    let other = |error: rustls::Error| SetupError::Other(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(other)?
        .with_root_certificates(roots(settings.ca_file.as_deref(), used)?);
    let Some(client) = &settings.client else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(&client.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(Secret::read(&client.key)?.expose())
        .map_err(|_| SetupError::file(&client.key, "is not a private key in PEM"))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| SetupError::file(&client.certificate, format!("does not go with its key: {error}")))
}

fn roots(ca_file: Option<&Path>, used: Use) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| SetupError::file(path, error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() && used == Use::Tls {
                let reason = "this host has no certification authorities; name some with ca_file";
                return Err(SetupError::Other(reason.to_owned()));
            }
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let bytes = fs::read(path).map_err(|error| SetupError::file(path, error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(SetupError::file(path, "has no certificate in PEM")),
        Err(error) => Err(SetupError::file(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_to_trust_matters_where_something_is_encrypted() {
        // A file without a certificate is a fault whatever it is for; nobody to trust is one for TLS alone.
        let empty = tempfile::NamedTempFile::new().expect("a file");
        let settings = TlsSettings { ca_file: Some(empty.path().to_owned()), client: None };
        for used in [Use::Tls, Use::Plain] {
            assert!(client_config(&settings, used).is_err());
        }
        assert!(client_config(&TlsSettings::default(), Use::Plain).is_ok());
    }
}
