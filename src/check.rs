//! `-check`: tries everything that a start with this configuration needs (files, addresses, processors) and undoes
//! it.
//!
//! It must never know how a flag is spelled, nor leave anything behind.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use crate::acl::Store;
use crate::acl_files;
use crate::config::{Config, Listen};
use crate::net::listener;
use crate::net::tls::Context;
use crate::serve::{bind_to, cannot_listen};

/// All that speaks against a start, one on a line, `remarks` among it; nothing if all is well.
pub fn faults(config: &Config, remarks: &[String]) -> String {
    let mut faults = remarks.to_vec();
    for (flag, path) in [
        ("-log-file", config.log_file.clone()),
        ("-access-log-file", config.access_log_path()),
    ] {
        if let Some(error) = path.and_then(|path| cannot_append(&path)) {
            faults.push(format!("{flag}: {error}"));
        }
    }
    faults.extend(Context::load(config).err());
    faults.extend(Store::load(config, acl_files::FILES).err());
    faults.extend(cannot_serve(config));
    for processor in &config.cpu_affinity {
        let processor = *processor;
        // On a thread that ends, for it stays bound.
        let bound = thread::scope(|scope| scope.spawn(|| bind_to(processor)).join());
        if let Ok(Err(error)) = bound {
            faults.push(error.to_string());
        }
    }
    faults.dedup();
    faults.into_iter().map(|fault| fault + "\n").collect()
}

/// Why a log file could not be written to.
fn cannot_append(path: &Path) -> Option<String> {
    let was_there = fs::symlink_metadata(path).is_ok();
    let opened = OpenOptions::new().create(true).append(true).open(path);
    if opened.is_ok() && !was_there {
        // It is empty, and nobody has asked for it yet.
        fs::remove_file(path).ok();
    }
    let error = opened.err()?;
    Some(format!("cannot open {}: {error}", path.display()))
}

/// Which addresses could not be served at.
fn cannot_serve(config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    let encrypted = config.tls.listen.map(Listen::Tcp);
    let plain = config.listen.iter().map(|address| ("-addr", address));
    let own = config.namespace_listen.iter();
    let own = own.map(|(_, address)| ("-namespace-addrs", address));
    let addresses = plain
        .chain(own)
        .chain(encrypted.iter().map(|address| ("-tls-addr", address)));
    // Until all have been tried, none is given up: two of them may exclude each other.
    let mut bound = Vec::new();
    for (flag, address) in addresses {
        match listener::listen(address, 1, config.reuse_port, config.unix_socket_perm) {
            Ok(listening) => bound.push(listening),
            Err(error) => faults.push(cannot_listen(address, flag, error).to_string()),
        }
    }
    for (_, address) in bound {
        if let Listen::Unix(path) = address {
            fs::remove_file(path).ok();
        }
    }
    if let Some(address) = config.debug_addr
        && let Err(error) = TcpListener::bind(address)
    {
        let address = Listen::Tcp(address);
        faults.push(cannot_listen(&address, "-debug-addr", error).to_string());
    }
    faults
}
