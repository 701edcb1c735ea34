//! What is ready for a peer is written: who writes is handed slices and says how many bytes left.

use crate::buffer::WriteBuf;
use crate::clock::Time;
use crate::proxy::client::Parting;
use crate::proxy::ids::{BackendId, ClientId, Peer};
use crate::proxy::state::Proxy;
use crate::proxy::upstream::backend::State;
use std::io::IoSlice;

/// Slices handed to one write.
const SLICES: usize = 64;

impl Proxy {
    /// Writes to all peers for which something is ready, requests before replies, up to where a connection is to be made
    /// first. `write` takes slices and returns how many bytes the peer accepted; less than all means that no more can be
    /// written to it now.
    pub fn flush_all(&mut self, now: Time, mut write: impl FnMut(Peer, &[IoSlice<'_>]) -> usize) {
        while let Some(id) = self.actions.take_backend_flush() {
            self.flush_backend(id, now, |slices| write(Peer::Backend(id), slices));
        }
        while let Some(id) = self.actions.take_client_flush() {
            self.flush_client(id, now, |slices| write(Peer::Client(id), slices));
        }
    }

    /// Writes what one peer's output holds.
    pub fn flush(&mut self, peer: Peer, now: Time, write: impl FnMut(&[IoSlice<'_>]) -> usize) {
        match peer {
            Peer::Client(id) => self.flush_client(id, now, write),
            Peer::Backend(id) => self.flush_backend(id, now, write),
        }
    }

    #[inline(always)]
    fn flush_client(
        &mut self,
        id: ClientId,
        now: Time,
        mut write: impl FnMut(&[IoSlice<'_>]) -> usize,
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.flush_queued = false;
        let client = match client.late {
            None => client,
            Some(_) => {
                self.tell_late(id);
                let Some(client) = self.clients.get_mut(id) else {
                    return;
                };
                client
            }
        };
        let mut written = 0;
        // Nearly always there is one piece and it leaves.
        while let Some((taken, offered)) = write_some(&client.output, &mut write) {
            client.output.drop_sent(taken, &mut self.pool);
            written += taken;
            if taken < offered || client.output.is_empty() {
                break;
            }
        }
        self.stats.client_bytes_out.add(written as u64);
        client.note_flush(written, now);
        let is_waited_for = client.is_waited_for;
        if client.is_finished() {
            self.drop_client(id, Parting::Left, now);
        } else if client.stall.is_some() {
            self.flushed_while_paused(id);
        }
        if is_waited_for {
            self.has_read(id, now);
        }
    }

    #[inline(always)]
    fn flush_backend(
        &mut self,
        id: BackendId,
        now: Time,
        mut write: impl FnMut(&[IoSlice<'_>]) -> usize,
    ) {
        let Some(backend) = self.upstream.backends.get_mut(id) else {
            return;
        };
        backend.flush_queued = false;
        let Some(output) = backend.writable() else {
            return;
        };
        let mut written = 0;
        while let Some((taken, offered)) = write_some(output, &mut write) {
            output.mark_sent(taken);
            written += taken;
            if taken < offered {
                break;
            }
        }
        self.stats.backend_bytes_out.add(written as u64);
        // What is still in it leaves with a later write.
        if output.unsent_len() == 0
            && backend.state == State::Ready
            && let Some(last) = backend.tickets.back()
        {
            backend.write_times.note(last.sent_at, now);
            self.stats.wrote_to_backend(backend.tickets.len());
        }
        if let Some(node) = self.upstream.nodes.get(usize::from(backend.node.0)) {
            node.stats.bytes_out.add(written as u64);
        }
        self.wake_waiters(id);
    }

    /// Whether a peer's output holds anything to write.
    pub fn wants_flush(&mut self, peer: Peer) -> bool {
        match peer {
            Peer::Client(id) => self
                .clients
                .get(id)
                .is_some_and(|client| client.output.unsent_len() > 0),
            Peer::Backend(id) => self
                .upstream
                .backends
                .get_mut(id)
                .and_then(|backend| backend.writable())
                .is_some_and(|output| output.unsent_len() > 0),
        }
    }

    /// Something was written to a client of which no request is taken, or nothing could be.
    #[inline(never)]
    fn flushed_while_paused(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if client.may_resume(&self.config.limits) {
            self.queue_resume(id);
        } else if client.is_to_be_read() {
            self.actions.resume(id);
        }
    }

    pub(in crate::proxy) fn queue_flush(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !client.flush_queued
        {
            client.flush_queued = true;
            self.actions.flush_client(id);
        }
    }

    pub(in crate::proxy) fn queue_resume(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !client.resume_queued
        {
            client.resume_queued = true;
            self.actions.resume(id);
        }
    }
}

/// Hands unsent bytes to `write`. Returns how many it took and how many it was offered.
#[inline]
fn write_some(
    output: &WriteBuf,
    write: &mut impl FnMut(&[IoSlice<'_>]) -> usize,
) -> Option<(usize, usize)> {
    match output.unsent_in_one() {
        Some(bytes) => Some((write(&[IoSlice::new(bytes)]), bytes.len())),
        None if output.unsent_len() == 0 => None,
        None => Some(write_many(output, write)),
    }
}

#[inline(never)]
fn write_many(
    output: &WriteBuf,
    write: &mut impl FnMut(&[IoSlice<'_>]) -> usize,
) -> (usize, usize) {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = output.unsent(&mut slices);
    let offered = slices[..count].iter().map(|slice| slice.len()).sum();
    (write(&slices[..count]), offered)
}
