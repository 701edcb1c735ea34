//! Client-side caching (CLIENT TRACKING), in the words of redis-server 7.0 (`clientCommand` and `tracking.c`).

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{After, Context, NO_INTEGER, SYNTAX_ERROR, fail, switch};
use crate::proxy::tracking::state::mode::{Choice, Mode};
use crate::proxy::tracking::state::seek::Wanted;
use crate::resp::args::Args;
use crate::resp::encode;
use crate::resp::reply::parse_number;

const NOT_TRACKING: &[u8] =
    b"ERR CLIENT CACHING can be called only when the client is in tracking \
    mode with OPTIN or OPTOUT mode enabled";
const NO_YES: &[u8] =
    b"ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
const NO_NO: &[u8] =
    b"ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
const PREFIX_WITHOUT_BCAST: &[u8] = b"ERR PREFIX option requires BCAST mode to be enabled";
const BCAST_WITH_CHOICE: &[u8] = b"ERR OPTIN and OPTOUT are not compatible with BCAST";
const BOTH_CHOICES: &[u8] = b"ERR You can't specify both OPTIN mode and OPTOUT mode";
const OTHER_CHOICE: &[u8] =
    b"ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for \
    this client, and then re-enabling it with a different mode.";
const TWO_REDIRECTS: &[u8] = b"ERR A client can only redirect to a single other client";
const OTHER_BCAST: &[u8] =
    b"ERR You can't switch BCAST mode on/off before disabling tracking for this client, and \
    then re-enabling it with a different mode.";
const NO_TARGET: &[u8] = b"ERR The client ID you want redirect to does not exist";

/// Redis has no such limits. Each prefix is compared with each other one, and stands at all nodes.
const PREFIXES_MAX: usize = 1024;
const PREFIXES_BYTES_MAX: usize = 1 << 20;
const TOO_MANY_PREFIXES: &[u8] = b"ERR too many prefixes for a single client";

/// The options of `CLIENT TRACKING`.
#[derive(Default)]
struct Options<'a> {
    redirect: i64,
    bcast: bool,
    optin: bool,
    optout: bool,
    noloop: bool,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn of(args: &Args<'a>) -> Result<Options<'a>, &'static [u8]> {
        let mut options = Options::default();
        let mut at = 3;
        while at < args.len() {
            let more = at + 1 < args.len();
            match args.at(at).to_ascii_lowercase().as_slice() {
                b"bcast" => options.bcast = true,
                b"optin" => options.optin = true,
                b"optout" => options.optout = true,
                b"noloop" => options.noloop = true,
                b"prefix" if more => {
                    at += 1;
                    options.prefixes.push(args.at(at));
                }
                b"redirect" if more => {
                    at += 1;
                    if options.redirect != 0 {
                        return Err(TWO_REDIRECTS);
                    }
                    options.redirect = parse_number(args.at(at)).ok_or(NO_INTEGER)?;
                    if options.redirect == 0 {
                        return Err(NO_TARGET);
                    }
                }
                _ => return Err(SYNTAX_ERROR),
            }
            at += 1;
        }
        Ok(options)
    }

    /// The prefixes of the client, which has had these. They must not overlap.
    fn prefixes(
        &self,
        mut own: BTreeSet<Box<[u8]>>,
    ) -> Result<BTreeSet<Box<[u8]>>, Cow<'static, [u8]>> {
        let text = |prefix: &[u8], with: &str, other: &[u8]| {
            let (end, own) = (
                &b"'. Prefixes for a single client must not overlap."[..],
                b"ERR Prefix '",
            );
            let middle = [b"' overlaps with ", with.as_bytes(), b" prefix '"].concat();
            Err(Cow::Owned([&own[..], prefix, &middle, other, end].concat()))
        };
        let bytes = self.prefixes.iter().map(|prefix| prefix.len());
        let bytes: usize = bytes.chain(own.iter().map(|prefix| prefix.len())).sum();
        if self.prefixes.len() + own.len() > PREFIXES_MAX || bytes > PREFIXES_BYTES_MAX {
            return Err(Cow::Borrowed(TOO_MANY_PREFIXES));
        }
        for (index, prefix) in self.prefixes.iter().enumerate() {
            if let Some(other) = own.iter().find(|own| overlap(own, prefix)) {
                return text(prefix, "an existing", other);
            }
            let mut others = self.prefixes[index + 1..].iter();
            if let Some(other) = others.find(|own| overlap(own, prefix)) {
                return text(prefix, "another provided", other);
            }
        }
        own.extend(self.prefixes.iter().map(|prefix| Box::from(*prefix)));
        if self.prefixes.is_empty() {
            own.insert(Box::default());
        }
        Ok(own)
    }

    /// What these ask for, behind what the client has asked for before.
    fn mode(&self, before: Option<&Mode>) -> Result<Mode, Cow<'static, [u8]>> {
        let own = before.map(|mode| mode.choice);
        let refused = |text: &'static [u8]| Err(Cow::Borrowed(text));
        if !self.bcast && !self.prefixes.is_empty() {
            return refused(PREFIX_WITHOUT_BCAST);
        }
        if before.is_some_and(|mode| mode.is_broadcast() != self.bcast) {
            return refused(OTHER_BCAST);
        }
        if self.bcast && (self.optin || self.optout) {
            return refused(BCAST_WITH_CHOICE);
        }
        let choice = match (self.optin, self.optout) {
            (true, true) => return refused(BOTH_CHOICES),
            (true, false) if own == Some(Choice::OptOut) => return refused(OTHER_CHOICE),
            (false, true) if own == Some(Choice::OptIn) => return refused(OTHER_CHOICE),
            (true, false) => Choice::OptIn,
            (false, true) => Choice::OptOut,
            (false, false) => Choice::All,
        };
        let mut mode = Mode::new(choice, self.noloop);
        if self.bcast {
            let before = before.map(|mode| mode.prefixes.clone());
            mode.prefixes = self.prefixes(before.unwrap_or_default())?;
        }
        Ok(mode)
    }
}

/// Whether two prefixes are of common keys.
fn overlap(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// `CLIENT TRACKING ON|OFF [options]`.
pub fn tracking(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let options = match Options::of(args) {
        Ok(options) => options,
        Err(text) => return fail(out, text),
    };
    let mode = match switch(args.at(2)) {
        Some(true) => options.mode(context.session.tracking()).map(Some),
        Some(false) => Ok(None),
        None => Err(Cow::Borrowed(SYNTAX_ERROR)),
    };
    if options.redirect != 0 {
        let Ok(number) = u64::try_from(options.redirect) else {
            return fail(out, NO_TARGET);
        };
        let wanted = match mode {
            Ok(Some(mode)) => Wanted::On(Box::new(mode)),
            Ok(None) => Wanted::Off,
            Err(text) => Wanted::Refused(text.into_owned()),
        };
        return After::TrackBy(number, wanted);
    }
    match mode {
        Ok(Some(mode)) if mode.is_broadcast() => After::TrackPrefixes(Box::new(mode)),
        Ok(mode) => {
            encode::simple(out, "OK");
            After::Track(mode.map(Box::new))
        }
        Err(text) => fail(out, &text),
    }
}

/// `CLIENT CACHING YES|NO`, about the next request.
pub fn caching(context: &mut Context<'_>, args: &Args<'_>, out: &mut Vec<u8>) -> After {
    let Some(mode) = context.session.tracking() else {
        return fail(out, NOT_TRACKING);
    };
    match (args.at(2).to_ascii_lowercase().as_slice(), mode.choice) {
        (b"yes", Choice::OptIn) | (b"no", Choice::OptOut) => {
            encode::simple(out, "OK");
            After::ChooseNext
        }
        (b"yes", _) => fail(out, NO_YES),
        (b"no", _) => fail(out, NO_NO),
        _ => fail(out, SYNTAX_ERROR),
    }
}

pub fn getredir(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    encode::integer(out, context.session.redirection());
    After::Go
}

pub fn trackinginfo(context: &mut Context<'_>, _: &Args<'_>, out: &mut Vec<u8>) -> After {
    let protocol = context.session.protocol;
    let mut flags = vec!["off"];
    if let Some(mode) = context.session.tracking() {
        let chosen = mode.has_chosen(context.seq);
        flags = vec!["on"];
        flags.extend(match mode.choice {
            Choice::All => &[][..],
            Choice::OptIn if chosen => &["optin", "caching-yes"],
            Choice::OptIn => &["optin"],
            Choice::OptOut if chosen => &["optout", "caching-no"],
            Choice::OptOut => &["optout"],
        });
        flags.extend(mode.is_broadcast().then_some("bcast"));
        flags.extend(mode.noloop.then_some("noloop"));
        flags.extend(mode.broken.then_some("broken_redirect"));
    }
    encode::map(out, 3, protocol);
    encode::bulk(out, b"flags");
    encode::set(out, flags.len(), protocol);
    flags
        .iter()
        .for_each(|flag| encode::bulk(out, flag.as_bytes()));
    encode::bulk(out, b"redirect");
    encode::integer(out, context.session.redirection());
    encode::bulk(out, b"prefixes");
    let own = context.session.tracking().map(|mode| &mode.prefixes);
    encode::array(out, own.map_or(0, BTreeSet::len));
    let own = own.into_iter().flatten();
    own.for_each(|prefix| encode::bulk(out, prefix));
    After::Go
}
