//! The man page, in the `man` macros of roff.

use super::{Kind, PROGRAM, sorted};

const DESCRIPTION: &str = r#".SH DESCRIPTION
.B redis\-cluster\-proxy
serves a whole Redis or Valkey Cluster at one ordinary Redis port.
Clients do not need to know about hash slots, redirects or failovers.
.PP
Every flag can be given on the command line, in an environment variable or in a configuration file.
The command line takes precedence over the environment, and the environment over the file.
.SH OPTIONS
.BR \-addr " \fIvalue\fR,"
.BR \-\-addr " \fIvalue\fR and"
.BI \-addr= value
mean the same.
If a flag is given twice, the last one wins.
Durations are written as 250ms, 3s or 1m30s.
"#;

const REST: &str = r#".SH CONFIGURATION FILE
Each line of the file of
.B \-config
is the name of a flag and its value, separated by blanks.
A line that begins with # is a comment.
A value may stand in double quotes.
.B \-check
checks a file without serving.
.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT
Serve for
.BR \-drain\-grace ,
then stop accepting clients, finish the requests in flight within
.BR \-drain\-timeout ,
and exit.
A second signal exits at once.
.TP
.B SIGHUP
Reopen the log files, and reload the configuration file and the password files.
.TP
.B SIGUSR1
Write a summary of the status to the log.
.TP
.B SIGUSR2
Start a new process, of the binary as it is on the disk now, that takes over
.RB ( \-take\-over ).
.SH SERVICE MANAGER
If
.B NOTIFY_SOCKET
is set, the program notifies the service manager, as
.BR sd_notify (3)
does, when every worker accepts clients, when it reloads and when it stops.
It is ready even if the cluster cannot be reached:
.I /readyz
of
.B \-debug\-addr
tells whether the cluster can be served.
If
.B WATCHDOG_USEC
is set, the program feeds the watchdog as long as no worker is stuck.
.PP
If the service manager passes a listening socket
.RB ( LISTEN_FDS " and " LISTEN_PID ,
as a systemd.socket(5) unit does), the program serves clients there instead of at
.BR \-addr .
All workers accept clients from it.
The socket may be TCP or Unix; more than one is an error.
.SH EXIT STATUS
.TP
0
Stopped by a signal, or did what it was asked to do.
.TP
1
Could not start, or had to stop.
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
Serve a cluster of which two nodes are known, with a status page, health checks and metrics:
.PP
.nf
    redis\-cluster\-proxy \-startup\-nodes 10.0.0.1:6379,10.0.0.2:6379 \-debug\-addr 127.0.0.1:9090
.fi
.PP
Watch a running proxy:
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
