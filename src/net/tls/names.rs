//! The names that a client's certificate bears: its common name, and the URIs among its alternative names.
//!
//! Only certificates that have been verified are read here. It must never know what users there are.

use super::der::{SEQUENCE, element, elements, expect, from_validity};

const OBJECT_ID: u8 = 0x06;
const SET: u8 = 0x31;
const OCTETS: u8 = 0x04;
/// Extensions of a certificate.
const EXTENSIONS: u8 = 0xa3;
/// A URI among the alternative names.
const URI: u8 = 0x86;
/// UTF8String, PrintableString, TeletexString, IA5String: their bytes are their text.
const TEXTS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];
/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// id-ce-subjectAltName, 2.5.29.17.
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The first common name of the subject.
pub fn common_name(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, _, rest) = element(from_validity(certificate)?)?;
    let (subject, _) = expect(rest, SEQUENCE)?;
    // Name ::= SEQUENCE OF SET OF SEQUENCE { type OBJECT IDENTIFIER, value }
    let sets = elements(subject).filter(|(tag, _)| *tag == SET);
    let mut pairs = sets.flat_map(|(_, set)| elements(set));
    pairs.find_map(|(_, pair)| {
        let (kind, rest) = expect(pair, OBJECT_ID)?;
        let (tag, value, _) = element(rest)?;
        (kind == COMMON_NAME && TEXTS.contains(&tag)).then(|| value.to_vec())
    })
}

/// The URIs among the subject's alternative names.
pub fn uris(certificate: &[u8]) -> Vec<Vec<u8>> {
    let Some(names) = alternative_names(certificate) else {
        return Vec::new();
    };
    let uris = elements(names).filter(|(tag, _)| *tag == URI);
    uris.map(|(_, uri)| uri.to_vec()).collect()
}

fn alternative_names(certificate: &[u8]) -> Option<&[u8]> {
    let fields = elements(from_validity(certificate)?);
    let (_, wrapped) = fields.into_iter().find(|(tag, _)| *tag == EXTENSIONS)?;
    let (extensions, _) = expect(wrapped, SEQUENCE)?;
    elements(extensions).find_map(|(_, extension)| {
        // Extension ::= SEQUENCE { id OBJECT IDENTIFIER, critical BOOLEAN?, value OCTET STRING }
        let (id, rest) = expect(extension, OBJECT_ID)?;
        let (_, value) = elements(rest).find(|(tag, _)| *tag == OCTETS)?;
        (id == ALTERNATIVE_NAME).then(|| expect(value, SEQUENCE).map(|(names, _)| names))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::certificate;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    fn made(names: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        certificate(folder.path(), &["app", names]);
        let path = folder.path().join("app.crt");
        let read = CertificateDer::from_pem_file(path).expect("a certificate");
        read.as_ref().to_vec()
    }

    #[test]
    fn a_certificate_tells_its_common_name_and_its_uris() {
        let der = made("DNS:localhost,URI:spiffe://a/b,IP:127.0.0.1,URI:app");
        assert_eq!(common_name(&der).as_deref(), Some(&b"app"[..]));
        assert_eq!(uris(&der), [&b"spiffe://a/b"[..], b"app"]);
        let der = made("DNS:app");
        assert_eq!(uris(&der), [b""; 0]);
    }

    #[test]
    fn whatever_is_cut_off_or_changed_ends_well() {
        let der = made("DNS:localhost,URI:app");
        for len in 0..der.len() {
            // The outermost length no longer fits.
            assert_eq!(common_name(&der[..len]), None);
            assert_eq!(uris(&der[..len]), [b""; 0]);
        }
        let mut found = 0;
        for at in 0..der.len() {
            for byte in [0, 1, 0x30, 0x7f, 0x80, 0x83, 0xff] {
                let mut other = der.clone();
                other[at] = byte;
                found += usize::from(common_name(&other).is_some()) + uris(&other).len();
            }
        }
        assert!(found > 0);
    }
}
