//! Commands that concern all keys, for one namespace: scripts that its node runs. Each looks at the keys of the
//! namespace's slot and takes those with the tag, so that namespaces which share a slot do not see each other.
//!
//! A script has one key, the tag itself, so that it goes where the namespace is; its first argument is the slot.

use crate::command::{Command, Rewrite};
use crate::proxy::namespace::Namespace;
use crate::proxy::namespace::request::Tagged;
use crate::resp::args::Args;
use crate::resp::reply::parse_number;

/// What the scripts share: `own` takes those keys of the slot that have the tag, among the newest so many, and says how many
/// it has looked at. `newest` looks at 10,000, which keeps a server for some 30 ms; and at up to 200,000 if there are keys of
/// others among them, since then those behind them may be anybody's.
macro_rules! script {
    ($text:literal) => {
        concat!(
            "local p,s=KEYS[1],ARGV[1] local n=#p ",
            "local function own(m) local t={} ",
            "local all=redis.call('CLUSTER','GETKEYSINSLOT',s,m) for _,k in ipairs(all) do ",
            "if string.sub(k,1,n)==p then t[#t+1]=k end end return t,#all end ",
            "local function size() return redis.call('CLUSTER','COUNTKEYSINSLOT',s) end ",
            "local function newest(c) local o,m=own(math.min(c,10000)) ",
            "if m<c and #o<m then o,m=own(math.min(c,200000)) end ",
            "return o,m end ",
            $text
        )
    };
}

/// Counts the keys. Those that are not looked at are shared out as those that are: in a slot of its own that is exact, and a
/// namespace without keys has none.
pub const COUNT: &str = script!(
    "local c=size() if c==0 then return 0 end local o,m=newest(c) \
     return #o+math.floor((c-m)*#o/m)"
);

/// Counts the keys, and those that expire: of more than 10,000 they are estimated by 10,000 of them.
pub const KEYSPACE: &str = script!(
    "local c=size() if c==0 then return {0,0} end local o,m=newest(c) \
     local look,found=math.min(#o,10000),0 \
     for i=1,look do if redis.call('PTTL',o[i])>=0 then found=found+1 end end \
     local all=#o+math.floor((c-m)*#o/m) \
     if look>0 and look<all then found=math.floor(found*all/look) end return {all,found}"
);

/// Lists the keys that match a pattern.
pub const LIST: &str = script!(
    "local r=redis.call('KEYS',p..ARGV[2]) for i=1,#r do r[i]=string.sub(r[i],n+1) end return r"
);

/// The cursor is the node's with three digits behind it that tell nodes apart: at another node, which has another order,
/// the scan begins anew.
pub const SCAN: &str = script!(
    "local mark=string.format('%03d',tonumber(string.sub(redis.call('CLUSTER','MYID'),1,6),16)%1000) \
     local cursor,count='0',tonumber(ARGV[4]) \
     if #ARGV[2]>3 and string.sub(ARGV[2],-3)==mark then cursor=string.sub(ARGV[2],1,-4) end \
     local call={'SCAN',cursor,'MATCH',p..ARGV[3],'COUNT',string.format('%.0f',math.max(count,100))} \
     if ARGV[5]~='' then call[7]='TYPE' call[8]=ARGV[5] end \
     local out={} local rounds=0 \
     repeat call[2]=cursor local r=redis.call(unpack(call)) cursor=r[1] rounds=rounds+1 \
     for _,k in ipairs(r[2]) do out[#out+1]=string.sub(k,n+1) end \
     until cursor=='0' or #out>=count or rounds>=10 \
     if cursor~='0' then cursor=cursor..mark end return {cursor,out}"
);

/// One of the 10,000 newest keys of the slot, or of more if there are keys of others among them.
pub const RANDOM: &str = script!(
    "local c=size() if c==0 then return false end local o=newest(c) local at=tonumber(ARGV[2]) \
     for i=1,math.min(#o,100) do local k=o[(at+i)%#o+1] \
     if redis.call('EXISTS',k)==1 then return string.sub(k,n+1) end end return false"
);

/// Those of others in the slot are passed over: each round looks at twice as many of them.
pub const FLUSH: &str = script!(
    "local m=5000 while true do local o,all=own(m) \
     for i=1,#o,1000 do redis.call('UNLINK',unpack(o,i,math.min(i+999,#o))) end \
     if all<m then return {ok='OK'} end m=5000+2*(all-#o) end"
);

/// Whether this is one of these scripts. They make no errors up: what reads like a refusal of the node is one.
pub fn is_script(text: &[u8]) -> bool {
    let all = [COUNT, KEYSPACE, LIST, SCAN, RANDOM, FLUSH];
    all.iter().any(|own| own.as_bytes() == text)
}

/// Whether this is the one that empties its namespace.
pub fn is_emptying(text: &[u8]) -> bool {
    text == FLUSH.as_bytes()
}

/// A request is not as it should be.
pub const SYNTAX_ERROR: &str = "ERR syntax error";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";

/// Writes the request that runs a script for a namespace.
pub fn write(own: &Namespace, script: &str, args: &[&[u8]], out: &mut Tagged) {
    out.begin(5 + args.len());
    out.push(&[b"EVAL"]);
    out.push(&[script.as_bytes()]);
    out.push(&[b"1"]);
    out.push(&[own.tag()]);
    out.push(&[own.slot().number().to_string().as_bytes()]);
    args.iter().for_each(|arg| out.push(&[arg]));
}

/// Whether the options of FLUSHDB or FLUSHALL are such.
pub fn is_flush(args: &Args<'_>) -> bool {
    let option = args.at(1);
    let known = option.eq_ignore_ascii_case(b"async") || option.eq_ignore_ascii_case(b"sync");
    args.len() == 1 || (args.len() == 2 && known)
}

/// Writes what takes the place of a request that concerns all keys. `chance` is any number.
pub fn rewrite(
    own: &Namespace,
    rewrite: Rewrite,
    command: &Command,
    args: &Args<'_>,
    chance: u64,
    out: &mut Tagged,
) -> Result<(), String> {
    match rewrite {
        Rewrite::Count => write(own, COUNT, &[], out),
        Rewrite::List => write(own, LIST, &[args.at(1)], out),
        Rewrite::Random => {
            let chance = (chance >> 34).to_string();
            write(own, RANDOM, &[chance.as_bytes()], out);
        }
        Rewrite::Flush => {
            if !is_flush(args) {
                return Err(SYNTAX_ERROR.to_string());
            }
            write(own, FLUSH, &[], out);
        }
        Rewrite::Scan => {
            let scan = Scan::parse(args)?;
            let count = scan.count.to_string();
            write(
                own,
                SCAN,
                &[scan.cursor, scan.pattern, count.as_bytes(), scan.kind],
                out,
            );
        }
        _ => {
            debug_assert!(false, "{} does not concern all keys", command.name);
            return Err(SYNTAX_ERROR.to_string());
        }
    }
    Ok(())
}

/// What a SCAN asks for.
struct Scan<'a> {
    cursor: &'a [u8],
    pattern: &'a [u8],
    count: i64,
    kind: &'a [u8],
}

impl<'a> Scan<'a> {
    /// Reads the arguments as Redis does, with its errors.
    fn parse(args: &Args<'a>) -> Result<Scan<'a>, String> {
        let cursor = args.at(1);
        let number = std::str::from_utf8(cursor).ok();
        if number.and_then(|text| text.parse::<u64>().ok()).is_none() {
            return Err("ERR invalid cursor".to_string());
        }
        let mut scan = Scan {
            cursor,
            pattern: b"*",
            count: 10,
            kind: b"",
        };
        for at in (2..args.len()).step_by(2) {
            let Some(value) = args.get(at + 1) else {
                return Err(SYNTAX_ERROR.to_string());
            };
            match args.at(at).to_ascii_lowercase().as_slice() {
                b"match" => scan.pattern = value,
                b"type" => scan.kind = value,
                b"count" => match parse_number(value) {
                    Some(count) if count >= 1 => scan.count = count,
                    Some(_) => return Err(SYNTAX_ERROR.to_string()),
                    None => return Err(NO_INTEGER.to_string()),
                },
                _ => return Err(SYNTAX_ERROR.to_string()),
            }
        }
        Ok(scan)
    }
}
