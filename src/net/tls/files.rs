//! Certificates and keys in files. Whatever is wrong with one is said in one line that names the flag and the file.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::expiry::validity;
use crate::net::tls_answers::Validity;

/// A certificate with those that vouch for it, and its key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub validity: Validity,
}

/// The flags of the two files of an identity.
#[derive(Debug, Clone, Copy)]
pub struct Flags {
    pub certificate: &'static str,
    pub key: &'static str,
}

/// What is wrong with the file of a flag.
pub fn fault(flag: &str, path: &Path, reason: impl std::fmt::Display) -> String {
    format!("-{flag}: {}: {reason}", path.display())
}

/// Reads a certificate and its key. Whether they match is seen when they are used.
pub fn identity(
    flags: Flags,
    files: (Option<&Path>, Option<&Path>),
) -> Result<Option<Identity>, String> {
    let (certificate, key) = match files {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => return Err(needs(flags.certificate, flags.key)),
        (None, Some(_)) => return Err(needs(flags.key, flags.certificate)),
    };
    let chain = certificates(flags.certificate, certificate)?;
    let validity = validity(&chain[0]).ok_or_else(|| {
        fault(
            flags.certificate,
            certificate,
            "it is not an X.509 certificate",
        )
    })?;
    let now = SystemTime::now();
    if let Ok(long) = now.duration_since(validity.ends) {
        let reason = format!("the certificate expired {} ago", days(long));
        return Err(fault(flags.certificate, certificate, reason));
    }
    if let Ok(long) = validity.begins.duration_since(now) {
        let reason = format!(
            "the certificate is not valid yet; it will be in {}",
            days(long)
        );
        return Err(fault(flags.certificate, certificate, reason));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        let reason = match error {
            PemError::NoItemsFound => {
                "there is no private key in it (PEM, not encrypted)".to_string()
            }
            other => reason(other),
        };
        fault(flags.key, key, reason)
    })?;
    Ok(Some(Identity {
        chain,
        key: private,
        validity,
    }))
}

/// The authorities that a file names.
pub fn authorities(flag: &str, path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(flag, path)? {
        roots
            .add(certificate)
            .map_err(|error| fault(flag, path, error))?;
    }
    Ok(roots)
}

/// The authorities that this system trusts.
pub fn system_authorities(flag: &str) -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found.errors.first().map(|error| format!(": {error}"));
        return Err(format!(
            "-{flag} is not set, and this system has no list of authorities{}",
            reason.unwrap_or_default()
        ));
    }
    Ok(roots)
}

fn certificates(flag: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, PemError> =
        CertificateDer::pem_file_iter(path).and_then(|found| found.collect());
    let found = found.map_err(|error| fault(flag, path, reason(error)))?;
    if found.is_empty() {
        return Err(fault(flag, path, "there is no certificate in it (PEM)"));
    }
    Ok(found)
}

fn needs(given: &str, missing: &str) -> String {
    format!("-{given} needs -{missing}")
}

fn reason(error: PemError) -> String {
    match error {
        PemError::Io(error) => error.to_string(),
        other => format!("it is malformed: {other}"),
    }
}

/// A time in days, or less than one.
fn days(long: Duration) -> String {
    match long.as_secs() / 86400 {
        0 => "less than a day".to_string(),
        1 => "1 day".to_string(),
        days => format!("{days} days"),
    }
}
