//! TLS settings, for clients and for nodes. They name files only: `net::tls` reads them.

use std::net::SocketAddr;
use std::path::PathBuf;

/// TLS with clients. The names and defaults are those of redis.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Where clients that speak TLS are served.
    pub listen: Option<SocketAddr>,
    /// The certificate that they are shown, with those that vouch for it.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Who vouches for clients.
    pub authorities: Option<PathBuf>,
    /// Whether clients must show a certificate.
    pub auth_clients: AuthClients,
    /// What in a client's certificate names its user.
    pub user: CertificateUser,
    /// The versions of TLS.
    pub protocols: Protocols,
    /// The cipher suites, in order of preference; of a version of which none is named, all.
    pub suites: Vec<String>,
    /// Whether the debug address is served by TLS.
    pub debug: bool,
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuthClients {
    /// They are not asked.
    No,
    /// They may; one that is not valid is refused.
    Optional,
    /// They must.
    #[default]
    Yes,
}

impl AuthClients {
    /// All of them.
    pub const ALL: [AuthClients; 3] = [AuthClients::No, AuthClients::Optional, AuthClients::Yes];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            AuthClients::No => "no",
            AuthClients::Optional => "optional",
            AuthClients::Yes => "yes",
        }
    }
}

/// What in a client's certificate names its user, who then need not log in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CertificateUser {
    /// Nothing.
    #[default]
    None,
    /// The common name of its subject.
    CommonName,
    /// The first URI among its alternative names that is a user's name.
    Uri,
}

impl CertificateUser {
    /// All of them.
    pub const ALL: [CertificateUser; 3] = [
        CertificateUser::CommonName,
        CertificateUser::Uri,
        CertificateUser::None,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            CertificateUser::None => "none",
            CertificateUser::CommonName => "CN",
            CertificateUser::Uri => "SAN-URI",
        }
    }
}

/// The versions of TLS; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// TLSv1.2.
    pub tls12: bool,
    /// TLSv1.3.
    pub tls13: bool,
}

impl Default for Protocols {
    fn default() -> Protocols {
        Protocols {
            tls12: true,
            tls13: true,
        }
    }
}

/// TLS with nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendTls {
    /// Whether nodes are spoken to by TLS.
    pub on: bool,
    /// Who vouches for nodes; nothing is whom the system trusts.
    pub authorities: Option<PathBuf>,
    /// The certificate that nodes are shown.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The name that every node has to prove, in place of its own.
    pub server_name: Option<String>,
    /// Whether nodes have to prove who they are.
    pub verify: bool,
}

impl Default for BackendTls {
    fn default() -> BackendTls {
        BackendTls {
            on: false,
            authorities: None,
            certificate: None,
            key: None,
            server_name: None,
            verify: true,
        }
    }
}
