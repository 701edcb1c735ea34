# Made from the table of flags: UPDATE_DIST=1 cargo test --test it dist::

complete -c redis-cluster-proxy -f
complete -c redis-cluster-proxy -o access-log-file -d 'file of access lines' -r -F
complete -c redis-cluster-proxy -o addr -d 'proxy serving address' -x
complete -c redis-cluster-proxy -o admin-commands -d 'whether clients may send commands that change the servers or this…' -x -a 'yes no loopback'
complete -c redis-cluster-proxy -o backend-connections -d 'shared connections to each backend, for each worker' -x
complete -c redis-cluster-proxy -o backend-idle-connections -d 'most exclusive connections to each backend, over all workers, that…' -x
complete -c redis-cluster-proxy -o backend-idle-timeout -d 'how long a connection to a backend stays that carries nothing and…' -x
complete -c redis-cluster-proxy -o backend-init-connections -d 'exclusive connections' -x
complete -c redis-cluster-proxy -o backend-password -d 'password for the backends, in place of -password' -x
complete -c redis-cluster-proxy -o backend-password-old -d 'password that nodes are tried with that refuse -backend-password…' -x
complete -c redis-cluster-proxy -o backend-tls -d 'speak TLS to the nodes'
complete -c redis-cluster-proxy -o backend-tls-ca-cert-file -d 'file' -r -F
complete -c redis-cluster-proxy -o backend-tls-cert-file -d 'file' -r -F
complete -c redis-cluster-proxy -o backend-tls-key-file -d 'file' -r -F
complete -c redis-cluster-proxy -o backend-tls-server-name -d 'name that the certificate of every node must have' -x
complete -c redis-cluster-proxy -o backend-tls-verify -d 'have nodes prove who they are'
complete -c redis-cluster-proxy -o backend-user -d 'ACL user for the backends' -x
complete -c redis-cluster-proxy -o busy-poll -d 'workers that have clients never sleep'
complete -c redis-cluster-proxy -o check -d 'check the command line, the environment, the file of -config and what…'
complete -c redis-cluster-proxy -o client-idle-timeout -d 'how long a client may ask for nothing before it is closed' -x
complete -c redis-cluster-proxy -o client-output-buffer-limit -d 'bytes of replies that may wait for a client of a class, normal or…' -x
complete -c redis-cluster-proxy -o client-password -d 'password demanded from clients, in place of -password' -x
complete -c redis-cluster-proxy -o client-password-old -d 'password that clients may give, too, while -client-password is changed' -x
complete -c redis-cluster-proxy -o client-query-buffer-limit -d 'bytes of requests that a client may have sent before they are executed' -x
complete -c redis-cluster-proxy -o cluster-face -d 'host:port at which clients reach this proxy' -x
complete -c redis-cluster-proxy -o coalesce -d 'how long a worker may wait for more events while eight clients or…' -x
complete -c redis-cluster-proxy -o config -d 'file with a flag on each line, its name and its value' -r -F
complete -c redis-cluster-proxy -o connect-timeout -d 'deadline of a connect to a backend and of its handshake' -x
complete -c redis-cluster-proxy -o cpu-affinity -d 'processors to bind the workers to, in turn, such as 0,2-3' -x
complete -c redis-cluster-proxy -o cross-slot-transactions -d 'what becomes of a transaction whose keys lie in several slots' -x -a 'refuse per-slot'
complete -c redis-cluster-proxy -o debug-addr -d 'serving address of the operator\'s pages' -x
complete -c redis-cluster-proxy -o debug-token -d 'token that requests to -debug-addr must bear' -x
complete -c redis-cluster-proxy -o idc-prefixes -d 'address prefixes that count as our data centre, besides the first two…' -x
complete -c redis-cluster-proxy -o log-every-n -d 'write an access log line for every N commands' -x
complete -c redis-cluster-proxy -o log-file -d 'log file, kept below 64 MiB with one older beside it' -r -F
complete -c redis-cluster-proxy -o log-format -d 'how lines of the log are written' -x -a 'text json'
complete -c redis-cluster-proxy -o log-level -d 'debug, info, warn, error, fatal or panic' -x -a 'debug info warn error'
complete -c redis-cluster-proxy -o max-blocked-clients -d 'clients in blocking commands' -x
complete -c redis-cluster-proxy -o max-clients -d 'clients at once, over all workers' -x
complete -c redis-cluster-proxy -o max-procs -d 'worker threads' -x
complete -c redis-cluster-proxy -o max-transactions -d 'clients in transactions' -x
complete -c redis-cluster-proxy -o node-map -d 'where nodes are reached when not at the address they announce' -x
complete -c redis-cluster-proxy -o nodes-allowed -d 'ranges of addresses where nodes may be, such as 10.0.0.0/8,fd00::/8…' -x
complete -c redis-cluster-proxy -o park-timeout -d 'how long a request may wait for its slot to have a reachable owner' -x
complete -c redis-cluster-proxy -o password -d 'password for the backends, and demanded from clients' -x
complete -c redis-cluster-proxy -o password-file -d 'file whose first line is taken as -password' -r -F
complete -c redis-cluster-proxy -o password-old -d 'password that counts beside -password while that is changed' -x
complete -c redis-cluster-proxy -o password-old-file -d 'file whose first line is taken as -password-old, if it has one' -r -F
complete -c redis-cluster-proxy -o protected-mode -d 'refuse clients that are not local while no password is demanded from…'
complete -c redis-cluster-proxy -o pubsub-order -d 'which messages of channels keep the order in which they are published' -x -a 'all channel'
complete -c redis-cluster-proxy -o pubsub-output -d 'the hard limit of -client-output-buffer-limit pubsub, in bytes, also…' -x
complete -c redis-cluster-proxy -o read-prefer -d 'where read commands go, a number or a name' -x -a 'READ_PREFER_MASTER READ_PREFER_SLAVE READ_PREFER_SLAVE_IDC'
complete -c redis-cluster-proxy -o ready-when -d '/readyz is 200 while a master that is up serves all-slots, or any-slot' -x -a 'all-slots any-slot'
complete -c redis-cluster-proxy -o request-timeout -d 'deadline of the oldest reply that a backend owes' -x
complete -c redis-cluster-proxy -o reuse-port -d 'share -addr with other proxies that have this flag, too'
complete -c redis-cluster-proxy -o slots-reload-interval -d 'period of the topology refresh' -x
complete -c redis-cluster-proxy -o slowlog-log-slower-than -d 'requests that take so many microseconds are in PROXY SLOWLOG, with…' -x
complete -c redis-cluster-proxy -o startup-nodes -d 'nodes asked for the topology at start, host:port separated by commas…' -x
complete -c redis-cluster-proxy -o tls-addr -d 'serving address for clients that speak TLS, beside -addr or, if that…' -x
complete -c redis-cluster-proxy -o tls-auth-clients -d 'whether clients that speak TLS must show a certificate that…' -x -a 'yes no optional'
complete -c redis-cluster-proxy -o tls-ca-cert-file -d 'file' -r -F
complete -c redis-cluster-proxy -o tls-cert-file -d 'file' -r -F
complete -c redis-cluster-proxy -o tls-ciphersuites -d 'cipher suites for clients, separated by colons, such as…' -x
complete -c redis-cluster-proxy -o tls-key-file -d 'file' -r -F
complete -c redis-cluster-proxy -o tls-protocols -d 'versions of TLS for clients, separated by spaces' -x
complete -c redis-cluster-proxy -o top -d 'show the status of the proxy whose -debug-addr is at this URL, such…' -x
complete -c redis-cluster-proxy -o transaction-idle-timeout -d 'how long a client may leave a transaction alone before its connection…' -x
complete -c redis-cluster-proxy -o version -d 'print the version and exit'
complete -c redis-cluster-proxy -o write-stall -d 'how long a client may take nothing of the replies that wait for it…' -x
