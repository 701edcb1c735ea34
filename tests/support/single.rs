//! One plain redis-server: what a reply is compared with.

use super::{Conn, Server};

/// One redis-server that is no cluster node.
#[derive(Debug)]
pub struct Single {
    server: Server,
}

impl Single {
    pub fn start() -> Single {
        Single {
            server: Server::start(&[]),
        }
    }

    pub fn port(&self) -> u16 {
        self.server.port()
    }

    pub fn addr(&self) -> String {
        self.server.addr()
    }

    #[track_caller]
    pub fn conn(&self) -> Conn {
        self.server.conn()
    }

    pub fn server(&self) -> &Server {
        &self.server
    }
}
