//! An authority, a server and a client, made for one test.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use homeport::sink::settings::{ClientFiles, TlsSettings};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

pub(crate) struct Certificates {
    directory: PathBuf,
    pub(crate) server: Arc<ServerConfig>,
}

impl Certificates {
    /// The server takes nobody without a certificate of the same authority.
    pub(crate) fn make(directory: &Path) -> Self {
        let ca_key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).expect("an authority");
        let issuer = Issuer::new(params, ca_key);
        let signed = |name: &str| {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
            (params.signed_by(&key, &issuer).expect("a certificate"), key)
        };
        let (client, client_key) = signed("storage-1");
        write(&directory.join("ca.pem"), &ca.pem(), 0o644);
        write(&directory.join("client.pem"), &client.pem(), 0o644);
        write(&directory.join("client.key"), &client_key.serialize_pem(), 0o600);

        let (server, server_key) = signed("127.0.0.1");
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).expect("an authority");
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .expect("a verifier");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![server.der().clone()], key)
            .expect("a server");
        Self { directory: directory.to_owned(), server: Arc::new(server) }
    }

    pub(crate) fn trusted(&self) -> TlsSettings {
        let file = |name| self.directory.join(name);
        TlsSettings {
            ca_file: Some(file("ca.pem")),
            client: Some(ClientFiles { certificate: file("client.pem"), key: file("client.key") }),
        }
    }

    pub(crate) fn anonymous(&self) -> TlsSettings {
        TlsSettings { client: None, ..self.trusted() }
    }
}

pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
}
