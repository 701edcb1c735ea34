//! Client libraries of other languages through the proxy. They need more than cargo brings, so `cargo test`
//! names them as ignored and `make test` runs them.

mod support;

use std::path::Path;
use std::process::Command;
use support::{Cluster, Proxy};

#[test]
#[ignore = "needs redis-py: `make test` or `make clients` installs it and runs this"]
fn redis_py() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/clients/bin/python");
    assert!(
        python.exists(),
        "{} is not there: `make clients` makes it",
        python.display()
    );
    let cluster = Cluster::start(3, 0);
    let proxy = Proxy::start(&cluster, &[]);
    let (_, port) = proxy.addr().rsplit_once(':').expect("host:port");
    let output = Command::new(python)
        .arg(root.join("tests/clients/redis_py.py"))
        .arg(port)
        .output()
        .expect("python runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
