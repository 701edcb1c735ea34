//! SUBSCRIBE, UNSUBSCRIBE and their forms for patterns and shard channels: parsed here, carried out in `pubsub`.

use std::sync::Arc;

use super::{After, Context};
use crate::proxy::pubsub::state::change::Change;
use crate::proxy::pubsub::state::kind::{Act, Kind};
use crate::resp::args::Args;

fn change(kind: Kind, act: Act, args: &Args<'_>) -> After {
    let names = args.from(1).map(Arc::from).collect();
    After::Subscriptions(Change { kind, act, names })
}

macro_rules! handlers {
    ($($name:ident: $kind:ident $act:ident,)*) => {
        $(pub fn $name(_: &mut Context<'_>, args: &Args<'_>, _: &mut Vec<u8>) -> After {
            change(Kind::$kind, Act::$act, args)
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
