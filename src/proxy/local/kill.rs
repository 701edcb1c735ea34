//! `CLIENT KILL`, in the form with one address and in the form with filters, as Redis 7.0 has them.

use super::client::unknown_type;
use super::{After, Context, SYNTAX_ERROR, fail};
use crate::acl::Users;
use crate::proxy::messages::client_filter::{Filter, Kind};
use crate::proxy::messages::worker_query::WorkerQuery;
use crate::proxy::pipeline::merge::Merge;
use crate::proxy::pipeline::plan::{Ask, Plan};
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::{Reply, parse_number};

pub fn kill(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let (mut filter, merge) = if args.len() == 3 {
        // This form may kill its own client.
        let filter = Filter {
            address: Some(args.at(2).to_vec()),
            ..Filter::default()
        };
        (filter, Merge::Join(Box::new(join_old)))
    } else {
        match parse(args, context.session.number, context.users) {
            Ok(filter) => (filter, Merge::Sum),
            Err(text) => return fail(out, &text),
        }
    };
    filter.within = context.session.namespace.clone();
    After::Ask(Plan {
        asks: vec![Ask::Workers(WorkerQuery::Kill(Box::new(filter)))],
        merge,
        write: false,
    })
}

/// The filters, for the client `own`.
fn parse(args: &Args<'_>, own: u64, users: &Users) -> Result<Filter, Vec<u8>> {
    let mut filter = Filter {
        spared: Some(own),
        ..Filter::default()
    };
    for at in (2..args.len()).step_by(2) {
        let Some(value) = args.get(at + 1) else {
            return Err(SYNTAX_ERROR.to_vec());
        };
        match args.at(at).to_ascii_lowercase().as_slice() {
            b"id" => match parse_number(value) {
                Some(number) if number > 0 => filter.number = Some(number),
                Some(_) | None => return Err(b"ERR client-id should be greater than 0".to_vec()),
            },
            b"type" => match Kind::named(value) {
                Some(kind) => filter.kind = Some(kind),
                None => return Err(unknown_type(value)),
            },
            b"addr" => filter.address = Some(value.to_vec()),
            b"laddr" => filter.local = Some(value.to_vec()),
            b"user" if users.get(value).is_some() => filter.user = Some(value.to_vec()),
            b"user" => return Err([b"ERR No such user '", value, b"'"].concat()),
            b"skipme" => match value.to_ascii_lowercase().as_slice() {
                b"yes" => filter.spared = Some(own),
                b"no" => filter.spared = None,
                _ => return Err(SYNTAX_ERROR.to_vec()),
            },
            _ => return Err(SYNTAX_ERROR.to_vec()),
        }
    }
    Ok(filter)
}

/// How many each worker has killed becomes OK, or an error if there was nobody.
fn join_old(parts: &[Reply<'_>], out: &mut Vec<u8>) {
    let killed: i64 = parts.iter().filter_map(|part| part.integer()).sum();
    if killed > 0 {
        encode::simple(out, "OK");
    } else {
        encode::error(out, b"ERR No such client");
    }
}
