//! SUBSCRIBE, UNSUBSCRIBE and their forms for patterns and shard channels: parsed here, carried out in `pubsub`.

use super::{After, Context};
use crate::proxy::pubsub::state::change::Change;
use crate::proxy::pubsub::state::keyspace_events;
use crate::proxy::pubsub::state::kind::{Act, Kind};
use crate::proxy::pubsub::state::subscriptions::bytes_with;
use crate::resp::args::Args;

fn change(context: &Context<'_>, kind: Kind, act: Act, args: &Args<'_>) -> After {
    let own = context.session.namespace.as_deref();
    let from = context.names_done;
    let most = context.names_most;
    // What will be refused is not copied.
    let is_too_much = act == Act::Subscribe && from == 0 && {
        let bytes = bytes_with(context.session.subscriptions(), args.from(1));
        bytes > context.config.limits.subscription_bytes
    };
    let names = args.from(1 + from).take(most).filter(|_| !is_too_much);
    let names = names
        .map(|name| keyspace_events::name_at_nodes(name, own))
        .collect();
    After::Subscriptions(Change {
        kind,
        act,
        names,
        from,
        more: args.len() - 1 - from.min(args.len() - 1) > most,
    })
}

macro_rules! handlers {
    ($($name:ident: $kind:ident $act:ident,)*) => {
        $(pub fn $name(context: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
            change(context, Kind::$kind, Act::$act, args)
        })*
    };
}

handlers! {
    subscribe: Channel Subscribe,
    unsubscribe: Channel Unsubscribe,
    psubscribe: Pattern Subscribe,
    punsubscribe: Pattern Unsubscribe,
    ssubscribe: Shard Subscribe,
    sunsubscribe: Shard Unsubscribe,
}
