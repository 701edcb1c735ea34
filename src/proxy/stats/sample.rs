//! `Sample`: what a worker has open, owed and in flight, looked at once a second (see `observe::sample`).

use std::time::Duration;

use crate::proxy::stats::Counter;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What one worker last saw. One writer, its worker.
        #[derive(Debug, Default)]
        pub struct Sample {
            $($(#[$doc])* pub $name: Counter,)*
            /// Bytes of replies that the client has not taken who is owed most.
            pub client_output_bytes_max: Counter,
        }

        /// What all workers last saw.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Samples {
            $($(#[$doc])* pub $name: u64,)*
            /// Bytes of replies that the client has not taken who is owed most.
            pub client_output_bytes_max: u64,
        }

        impl Samples {
            /// Adds what one worker saw.
            pub fn add(&mut self, sample: &Sample) {
                $(self.$name += sample.$name.get();)*
                let most = sample.client_output_bytes_max.get();
                self.client_output_bytes_max = self.client_output_bytes_max.max(most);
            }
        }
    };
}

numbers! {
    /// Requests taken and not answered.
    requests_in_flight,
    /// Bytes of replies that clients have not taken.
    client_output_bytes,
    /// Bytes of buffers that hold something.
    buffer_used_bytes,
    /// Bytes that clients make us hold.
    clients_memory_bytes,
    /// Bytes of buffers kept for the next ones.
    buffer_free_bytes,
}

/// What is seen of one node.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::proxy) struct NodeSample {
    pub(in crate::proxy) connecting: u64,
    pub(in crate::proxy) busy: u64,
    pub(in crate::proxy) in_flight: u64,
    pub(in crate::proxy) silent: Duration,
}
