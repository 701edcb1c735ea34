//! The flags of TLS: rows of the [table](super::table) as the others are.

use super::flag::{Flag, Kind, path, show_file, show_option};
use super::{address, number};
use crate::config::{AuthClients, CertificateUser, Protocols};

/// The flags.
pub(super) const FLAGS: [Flag; 15] = [
    Flag {
        name: "tls-addr",
        kind: Kind::String,
        default: "",
        help: "address to listen on for TLS clients, besides -addr. Needs -tls-cert-file and -tls-key-file",
        apply: |options, value| {
            available(!value.is_empty())?;
            options.config.tls.listen = match value {
                "" => None,
                value => Some(address::tcp(value)?),
            };
            Ok(())
        },
        show: |config| show_option(&config.tls.listen),
        live: false,
    },
    Flag {
        name: "tls-cert-file",
        kind: Kind::String,
        default: "",
        help: "PEM file with the proxy's certificate, followed by any intermediate certificates. A changed file is \
               used for new connections within a minute, or at SIGHUP",
        apply: |options, value| {
            options.config.tls.certificate = path(value);
            Ok(())
        },
        show: |config| show_file(&config.tls.certificate),
        live: false,
    },
    Flag {
        name: "tls-key-file",
        kind: Kind::String,
        default: "",
        help: "PEM file with the private key of -tls-cert-file",
        apply: |options, value| {
            options.config.tls.key = path(value);
            Ok(())
        },
        show: |config| show_file(&config.tls.key),
        live: false,
    },
    Flag {
        name: "tls-ca-cert-file",
        kind: Kind::String,
        default: "",
        help: "PEM file with the certificate authorities that sign client certificates",
        apply: |options, value| {
            options.config.tls.authorities = path(value);
            Ok(())
        },
        show: |config| show_file(&config.tls.authorities),
        live: false,
    },
    Flag {
        name: "tls-auth-clients",
        kind: Kind::String,
        default: "yes",
        help: "whether TLS clients must present a certificate signed by -tls-ca-cert-file: yes, no or optional (not \
               required, but verified if presented)",
        apply: |options, value| {
            options.config.tls.auth_clients = AuthClients::ALL
                .into_iter()
                .find(|choice| choice.name().eq_ignore_ascii_case(value))
                .ok_or("must be yes, no or optional")?;
            Ok(())
        },
        show: |config| config.tls.auth_clients.name().to_string(),
        live: false,
    },
    Flag {
        name: "tls-auth-clients-user",
        kind: Kind::String,
        default: "none",
        help: "log in TLS clients as the user that their certificate names: CN (the common name of its subject), \
               SAN-URI (the first URI among its alternative names that is the name of a user) or none",
        apply: |options, value| {
            options.config.tls.user = CertificateUser::ALL
                .into_iter()
                .find(|choice| choice.name().eq_ignore_ascii_case(value))
                .ok_or("must be CN, SAN-URI or none")?;
            Ok(())
        },
        show: |config| config.tls.user.name().to_string(),
        live: false,
    },
    Flag {
        name: "tls-protocols",
        kind: Kind::String,
        default: "TLSv1.2 TLSv1.3",
        help: "TLS versions to accept from clients, separated by spaces",
        apply: |options, value| {
            options.config.tls.protocols = protocols(value)?;
            Ok(())
        },
        show: |config| show_protocols(config.tls.protocols),
        live: false,
    },
    Flag {
        name: "tls-ciphersuites",
        kind: Kind::String,
        default: "",
        help: "cipher suites to accept from clients, separated by colons, such as TLS_CHACHA20_POLY1305_SHA256. If \
               none is listed for a TLS version, all of that version are accepted",
        apply: |options, value| {
            let names = value.split([':', ' ']).filter(|name| !name.is_empty());
            options.config.tls.suites = names.map(str::to_string).collect();
            Ok(())
        },
        show: |config| config.tls.suites.join(":"),
        live: false,
    },
    Flag {
        name: "debug-tls",
        kind: Kind::Bool,
        default: "false",
        help: "serve -debug-addr by TLS with -tls-cert-file and -tls-key-file. Clients of this address need no certificate; -debug-token controls access",
        apply: |options, value| {
            let on = number::boolean(value)?;
            available(on)?;
            options.config.tls.debug = on;
            Ok(())
        },
        show: |config| config.tls.debug.to_string(),
        live: false,
    },
    Flag {
        name: "backend-tls",
        kind: Kind::Bool,
        default: "false",
        help: "use TLS for connections to the nodes",
        apply: |options, value| {
            let on = number::boolean(value)?;
            available(on)?;
            options.config.backend_tls.on = on;
            Ok(())
        },
        show: |config| config.backend_tls.on.to_string(),
        live: false,
    },
    Flag {
        name: "backend-tls-ca-cert-file",
        kind: Kind::String,
        default: "",
        help: "PEM file with the certificate authorities that sign node certificates. Empty uses those that the \
               system trusts",
        apply: |options, value| {
            options.config.backend_tls.authorities = path(value);
            Ok(())
        },
        show: |config| show_file(&config.backend_tls.authorities),
        live: false,
    },
    Flag {
        name: "backend-tls-cert-file",
        kind: Kind::String,
        default: "",
        help: "PEM file with the certificate to present to nodes (mutual TLS)",
        apply: |options, value| {
            options.config.backend_tls.certificate = path(value);
            Ok(())
        },
        show: |config| show_file(&config.backend_tls.certificate),
        live: false,
    },
    Flag {
        name: "backend-tls-key-file",
        kind: Kind::String,
        default: "",
        help: "PEM file with the private key of -backend-tls-cert-file",
        apply: |options, value| {
            options.config.backend_tls.key = path(value);
            Ok(())
        },
        show: |config| show_file(&config.backend_tls.key),
        live: false,
    },
    Flag {
        name: "backend-tls-server-name",
        kind: Kind::String,
        default: "",
        help: "name that every node's certificate must contain. Empty expects the host name that the node announces \
               (cluster-announce-hostname), else its name in -startup-nodes, else its address",
        apply: |options, value| {
            options.config.backend_tls.server_name = (!value.is_empty()).then(|| value.to_string());
            Ok(())
        },
        show: |config| config.backend_tls.server_name.clone().unwrap_or_default(),
        live: false,
    },
    Flag {
        name: "backend-tls-verify",
        kind: Kind::Bool,
        default: "true",
        help: "verify the certificates of nodes. false accepts any node, and is for tests only",
        apply: |options, value| {
            options.config.backend_tls.verify = number::boolean(value)?;
            Ok(())
        },
        show: |config| config.backend_tls.verify.to_string(),
        live: false,
    },
];

/// Whether TLS can be asked for.
fn available(wanted: bool) -> Result<(), String> {
    match wanted && !cfg!(feature = "tls") {
        true => Err("this program was built without TLS (cargo feature tls)".to_string()),
        false => Ok(()),
    }
}

fn protocols(value: &str) -> Result<Protocols, String> {
    let mut protocols = Protocols {
        tls12: false,
        tls13: false,
    };
    for name in value.split_whitespace() {
        match name.to_ascii_lowercase().as_str() {
            "tlsv1.2" => protocols.tls12 = true,
            "tlsv1.3" => protocols.tls13 = true,
            _ => return Err(format!("{name:?} is none of TLSv1.2 and TLSv1.3")),
        }
    }
    match protocols.tls12 || protocols.tls13 {
        true => Ok(protocols),
        false => Err("must name TLSv1.2, TLSv1.3 or both".to_string()),
    }
}

fn show_protocols(protocols: Protocols) -> String {
    match (protocols.tls12, protocols.tls13) {
        (true, true) => "TLSv1.2 TLSv1.3".to_string(),
        (true, false) => "TLSv1.2".to_string(),
        (false, _) => "TLSv1.3".to_string(),
    }
}
