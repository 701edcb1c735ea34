//! Completions of flags and their values, for bash, zsh and fish.

use super::{Flag, PROGRAM, Value, sorted};

const HEAD: &str = "Made from the table of flags: UPDATE_DIST=1 cargo test --test it dist::";

/// For `/usr/share/bash-completion/completions/redis-cluster-proxy`.
pub fn bash() -> String {
    let names = |wanted: &dyn Fn(Value) -> bool| -> Vec<&str> {
        let flags = sorted().into_iter();
        let wanted = flags.filter(|flag| wanted(Value::of(flag)));
        wanted.map(|flag| flag.name).collect()
    };
    let mut cases = String::new();
    for flag in sorted() {
        if let Value::Words(words) = Value::of(flag) {
            let words = words.join(" ");
            cases += &format!(
                "            {}) COMPREPLY=($(compgen -W \"{words}\" -- \"$cur\")); return ;;\n",
                flag.name
            );
        }
    }
    let files = names(&|value| value == Value::File).join("|");
    let free = names(&|value| value == Value::Free).join("|");
    let switches = names(&|value| value == Value::Switch).join("|");
    let all = names(&|_| true).join(" ");
    format!(
        r#"# {HEAD}

_redis_cluster_proxy() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} behind=
    # "-flag=value" is three words here.
    if [[ $cur == "=" ]]; then
        cur= behind=1
    elif [[ $prev == "=" ]]; then
        prev=${{COMP_WORDS[COMP_CWORD-2]}} behind=1
    fi
    if [[ $prev == -* ]]; then
        prev=${{prev#-}}
        case ${{prev#-}} in
{cases}            {files}) COMPREPLY=($(compgen -f -- "$cur")); compopt -o filenames 2>/dev/null; return ;;
            {free}) return ;;
            {switches}) [[ $behind ]] && {{ COMPREPLY=($(compgen -W "true false" -- "$cur")); return; }} ;;
        esac
    fi
    local dashes=-
    [[ $cur == --* ]] && dashes=--
    COMPREPLY=($(compgen -P "$dashes" -W "{all}" -- "${{cur#"$dashes"}}"))
}}
complete -F _redis_cluster_proxy {PROGRAM}
"#
    )
}

/// For `/usr/share/zsh/vendor-completions/_redis-cluster-proxy`.
pub fn zsh() -> String {
    let mut text = format!("#compdef {PROGRAM}\n# {HEAD}\n\n_arguments \\\n");
    for flag in sorted() {
        let help = zsh_escaped(&summary(flag));
        let name = flag.name;
        let spec = match Value::of(flag) {
            Value::Words(words) => format!("-{name}=[{help}]:value:({})", words.join(" ")),
            Value::File => format!("-{name}=[{help}]:file:_files"),
            Value::Free => format!(
                "-{name}=[{help}]:{}: ",
                flag.kind.type_name().unwrap_or("value")
            ),
            Value::Switch => format!("-{name}[{help}]"),
        };
        text.push_str(&format!("  '{spec}' \\\n"));
    }
    text.push_str("  '-h[print the usage]'\n");
    text
}

/// For `/usr/share/fish/vendor_completions.d/redis-cluster-proxy.fish`.
pub fn fish() -> String {
    let mut text = format!("# {HEAD}\n\ncomplete -c {PROGRAM} -f\n");
    for flag in sorted() {
        let value = match Value::of(flag) {
            Value::Words(words) => format!(" -x -a '{}'", words.join(" ")),
            Value::File => " -r -F".to_string(),
            Value::Free => " -x".to_string(),
            Value::Switch => String::new(),
        };
        let help = summary(flag).replace('\\', "\\\\").replace('\'', "\\'");
        text.push_str(&format!(
            "complete -c {PROGRAM} -o {} -d '{help}'{value}\n",
            flag.name
        ));
    }
    text
}

/// The beginning of what a flag does, as much as a menu can show.
fn summary(flag: &Flag) -> String {
    const LENGTH: usize = 70;
    let ends = [": ", "; ", ". ", " (", ", so that", ", for which"];
    let end = ends.iter().filter_map(|end| flag.help.find(end)).min();
    let help = &flag.help[..end.unwrap_or(flag.help.len())];
    if help.chars().count() <= LENGTH {
        return help.to_string();
    }
    let mut short = String::new();
    for word in help.split(' ') {
        if short.chars().count() + word.chars().count() >= LENGTH {
            break;
        }
        short.push_str(word);
        short.push(' ');
    }
    format!("{}…", short.trim_end().trim_end_matches([',', ':']))
}

/// Between brackets and single quotes of `_arguments`.
fn zsh_escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\'', "'\\''");
    text.replace('[', "\\[")
        .replace(']', "\\]")
        .replace(':', "\\:")
}
