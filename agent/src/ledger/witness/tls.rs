//! HTTPS with rustls, ring, and the host's certificate authorities.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// How a client verifies servers.
///
/// # Errors
///
/// Only when rustls and ring do not fit together.
pub(super) fn client() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // A host without any can still speak to witnesses over plain HTTP, whose answers are signed anyway.
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
