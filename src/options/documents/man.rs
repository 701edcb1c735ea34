//! The man page, in the `man` macros of roff.

use super::{Kind, PROGRAM, sorted};

const DESCRIPTION: &str = r#".SH DESCRIPTION
.B redis\-cluster\-proxy
serves a whole Redis or Valkey Cluster at one ordinary Redis port.
Clients need to know nothing of hash slots, redirects or failovers.
.PP
The command line, environment variables and a configuration file set the same flags.
The command line wins over the environment, and that over the file.
.SH OPTIONS
.BR \-addr " \fIvalue\fR,"
.BR \-\-addr " \fIvalue\fR and"
.BI \-addr= value
are the same.
Of a flag that is given twice, the last counts.
Durations are written as 250ms, 3s or 1m30s.
"#;

const REST: &str = r#".SH CONFIGURATION FILE
Each line of the file of
.B \-config
is the name of a flag and its value, separated by blanks.
A line that begins with # is a comment.
A value may stand in double quotes.
.B \-check
tries a file without serving.
.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT
Take no new clients, finish what is in flight, and exit.
A second one ends the program at once.
.TP
.B SIGHUP
Open the log file anew, and read the configuration file and the password files again.
.TP
.B SIGUSR1
Write a summary of the status to the log.
.SH SERVICE MANAGER
If
.B NOTIFY_SOCKET
is set, the program tells it, as
.BR sd_notify (3)
does, when every worker accepts clients, when it reloads and when it stops.
Whether the cluster can be reached is another question:
.I /readyz
of
.B \-debug\-addr
answers it.
If
.B WATCHDOG_USEC
is set, the watchdog is fed while every worker ends its turns.
.PP
If one listening socket is passed
.RB ( LISTEN_FDS " and " LISTEN_PID ,
as by a systemd.socket(5) unit), clients are served there and
.B \-addr
is not used.
All workers accept clients from it, however many there are.
The socket may be TCP or Unix; more than one is an error.
.SH EXIT STATUS
.TP
0
Ended as asked.
.TP
1
It could not start or not go on.
.TP
2
The command line, the environment or the configuration file is wrong.
.SH FILES
.TP
.I /etc/redis\-cluster\-proxy/redis\-cluster\-proxy.conf
The configuration of the packaged service.
.TP
.I /var/log/redis\-cluster\-proxy/
Its logs.
.SH EXAMPLES
Serve the cluster to which two nodes belong, with a page for health checks and metrics:
.PP
.nf
    redis\-cluster\-proxy \-startup\-nodes 10.0.0.1:6379,10.0.0.2:6379 \-debug\-addr 127.0.0.1:9090
.fi
.PP
Look at a running proxy:
.PP
.nf
    redis\-cluster\-proxy \-top http://127.0.0.1:9090
.fi
.SH SEE ALSO
.BR redis\-cli (1),
.BR systemd.socket (5)
"#;

/// The page of section 1.
pub fn man() -> String {
    let mut text = format!(
        ".\\\" Made from the table of flags: UPDATE_DIST=1 cargo test \\-\\-test it dist::\n\
         .TH {} 1 \"\" \"{PROGRAM}\" \"User Commands\"\n\
         .SH NAME\n\
         {name} \\- proxy that serves a Redis or Valkey Cluster at one ordinary Redis port\n\
         .SH SYNOPSIS\n\
         .B {name}\n\
         .RI [ flags ]\n",
        PROGRAM.to_uppercase(),
        name = escaped(PROGRAM),
    );
    text.push_str(DESCRIPTION);
    for flag in sorted() {
        text.push_str(&format!(".TP\n.B \\-{}", escaped(flag.name)));
        if let Some(kind) = flag.kind.type_name() {
            text.push_str(&format!(" \\fI{kind}\\fR"));
        }
        text.push_str(&format!("\n{}.\n", escaped(&sentence(flag.help))));
        if !flag.has_zero_default() && flag.kind != Kind::Action {
            text.push_str(&format!("Default: {}.\n", escaped(flag.default)));
        }
        if let Some(variable) = flag.variable() {
            text.push_str(&format!("Environment: {variable}.\n"));
        }
    }
    text.push_str(REST);
    text
}

/// With a capital letter; the full stop is the caller's.
fn sentence(help: &str) -> String {
    let mut letters = help.chars();
    let first = letters.next().map(|letter| letter.to_uppercase());
    let first: String = first.into_iter().flatten().collect();
    first + letters.as_str().trim_end_matches('.')
}

/// As roff reads it literally. No line of it begins with a dot, for none is empty and all begin with a letter.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('µ', "\\(mc")
}
