# Made from the table of flags: UPDATE_DIST=1 cargo test --test it dist::

complete -c redis-cluster-proxy -f
complete -c redis-cluster-proxy -o access-log-file -d 'file for access log lines' -r -F
complete -c redis-cluster-proxy -o acl-file -d 'file with the users that clients log in as, in the format of Redis…' -r -F
complete -c redis-cluster-proxy -o acl-scripts -d 'let users with restricted rights run scripts and functions'
complete -c redis-cluster-proxy -o addr -d 'addresses to listen on, separated by commas' -x
complete -c redis-cluster-proxy -o admin-commands -d 'who may send commands that change the servers or the proxy' -x -a 'yes no loopback'
complete -c redis-cluster-proxy -o auth -d 'who checks users' -x
complete -c redis-cluster-proxy -o auth-failure-delay -d 'delay logins' -x
complete -c redis-cluster-proxy -o backend-connections -d 'shared connections to each node, for each worker' -x
complete -c redis-cluster-proxy -o backend-idle-connections -d 'how many unused exclusive connections to each node to keep as a…' -x
complete -c redis-cluster-proxy -o backend-idle-timeout -d 'close node connections that are no longer needed after this long' -x
complete -c redis-cluster-proxy -o backend-init-connections -d 'how many exclusive connections to each node to keep as a minimum…' -x
complete -c redis-cluster-proxy -o backend-password -d 'password for the cluster nodes, if it differs from -password' -x
complete -c redis-cluster-proxy -o backend-password-old -d 'previous -backend-password, tried on nodes that reject the new one…' -x
complete -c redis-cluster-proxy -o backend-tls -d 'use TLS for connections to the nodes'
complete -c redis-cluster-proxy -o backend-tls-ca-cert-file -d 'PEM file with the certificate authorities that sign node certificates' -r -F
complete -c redis-cluster-proxy -o backend-tls-cert-file -d 'PEM file with the certificate to present to nodes' -r -F
complete -c redis-cluster-proxy -o backend-tls-key-file -d 'PEM file with the private key of -backend-tls-cert-file' -r -F
complete -c redis-cluster-proxy -o backend-tls-server-name -d 'name that every node\'s certificate must contain' -x
complete -c redis-cluster-proxy -o backend-tls-verify -d 'verify the certificates of nodes'
complete -c redis-cluster-proxy -o backend-user -d 'ACL user that the proxy logs in as on the nodes' -x
complete -c redis-cluster-proxy -o busy-poll -d 'workers that have clients poll without sleeping'
complete -c redis-cluster-proxy -o check -d 'check the settings without serving, and exit'
complete -c redis-cluster-proxy -o client-idle-timeout -d 'close clients that send nothing for this long' -x
complete -c redis-cluster-proxy -o client-output-buffer-limit -d 'how many bytes of unread replies a client may have, as in redis.conf' -x
complete -c redis-cluster-proxy -o client-password -d 'password that clients must give, if it differs from -password' -x
complete -c redis-cluster-proxy -o client-password-old -d 'previous -client-password, still accepted from clients during a…' -x
complete -c redis-cluster-proxy -o client-query-buffer-limit -d 'how many bytes of unexecuted requests a client may queue' -x
complete -c redis-cluster-proxy -o cluster-face -d 'present the proxy as a cluster of one master that owns all slots, for…' -x
complete -c redis-cluster-proxy -o coalesce -d 'how long a worker may wait for more events when eight or more clients…' -x
complete -c redis-cluster-proxy -o config -d 'read settings from this file' -r -F
complete -c redis-cluster-proxy -o connect-timeout -d 'time limit for connecting to a node, handshake included' -x
complete -c redis-cluster-proxy -o cpu-affinity -d 'processors to pin the workers to, in turn, such as 0,2-3' -x
complete -c redis-cluster-proxy -o cross-slot-transactions -d 'what to do with a transaction whose keys are in several slots' -x -a 'refuse per-slot'
complete -c redis-cluster-proxy -o databases -d 'how many databases each namespace has' -x
complete -c redis-cluster-proxy -o debug-addr -d 'address of the status page, health checks and metrics' -x
complete -c redis-cluster-proxy -o debug-tls -d 'serve -debug-addr by TLS with -tls-cert-file and -tls-key-file'
complete -c redis-cluster-proxy -o debug-token -d 'token for -debug-addr' -x
complete -c redis-cluster-proxy -o drain-grace -d 'at SIGTERM, keep accepting and serving clients for this long, while…' -x
complete -c redis-cluster-proxy -o drain-timeout -d 'at SIGTERM, after -drain-grace, wait at most this long for requests…' -x
complete -c redis-cluster-proxy -o idc-prefixes -d 'address prefixes that count as the proxy\'s own data center, such as…' -x
complete -c redis-cluster-proxy -o log-every-n -d 'write one access log line for every N commands' -x
complete -c redis-cluster-proxy -o log-file -d 'log file' -r -F
complete -c redis-cluster-proxy -o log-format -d 'format of the log lines' -x -a 'text json'
complete -c redis-cluster-proxy -o log-level -d 'lowest level to log' -x -a 'debug info warn error'
complete -c redis-cluster-proxy -o login-timeout -d 'if clients need a password, close a client that has not logged in…' -x
complete -c redis-cluster-proxy -o max-blocked-clients -d 'maximum number of clients in blocking commands' -x
complete -c redis-cluster-proxy -o max-clients -d 'maximum number of clients, over all workers' -x
complete -c redis-cluster-proxy -o max-memory -d 'how much memory all clients together may hold in the proxy' -x
complete -c redis-cluster-proxy -o max-procs -d 'number of worker threads' -x
complete -c redis-cluster-proxy -o max-transactions -d 'maximum number of clients in transactions' -x
complete -c redis-cluster-proxy -o max-users -d 'with -auth backend, as how many users' -x
complete -c redis-cluster-proxy -o namespace -d 'put the hash tag {NAME} before every key of every client' -x
complete -c redis-cluster-proxy -o namespace-addrs -d 'serve more namespaces, each at an address of its own' -x
complete -c redis-cluster-proxy -o namespace-channels -d 'put the tag of the namespace before channel names as well'
complete -c redis-cluster-proxy -o namespace-users -d 'put users of -acl-file into namespaces' -x
complete -c redis-cluster-proxy -o near-cache -d 'memory for replies to reads of hot keys, such as 64mb, shared by the…' -x
complete -c redis-cluster-proxy -o near-cache-min-reads -d 'cache a key once a worker has read it this many times within about…' -x
complete -c redis-cluster-proxy -o near-cache-prefixes -d 'cache only keys that begin with one of these prefixes, separated by…' -x
complete -c redis-cluster-proxy -o near-cache-staleness -d 'no cached value is served that is older than this' -x
complete -c redis-cluster-proxy -o near-cache-tracking -d 'which changed keys the nodes report to the near cache' -x
complete -c redis-cluster-proxy -o node-map -d 'where to reach nodes that announce an unreachable address' -x
complete -c redis-cluster-proxy -o nodes-allowed -d 'address ranges in which nodes may be, such as 10.0.0.0/8,fd00::/8' -x
complete -c redis-cluster-proxy -o park-timeout -d 'how long to hold a request while its slot has no reachable owner, as…' -x
complete -c redis-cluster-proxy -o password -d 'password for the cluster nodes, which clients of the proxy must give…' -x
complete -c redis-cluster-proxy -o password-file -d 'file whose first line is -password' -r -F
complete -c redis-cluster-proxy -o password-old -d 'previous -password, still accepted during a password change' -x
complete -c redis-cluster-proxy -o password-old-file -d 'file whose first line is -password-old' -r -F
complete -c redis-cluster-proxy -o protected-mode -d 'refuse clients from other hosts while no client password is set'
complete -c redis-cluster-proxy -o proxy-protocol -d 'addresses of load balancers that send a PROXY protocol header' -x
complete -c redis-cluster-proxy -o pubsub-order -d 'which published messages keep their order' -x -a 'all channel'
complete -c redis-cluster-proxy -o pubsub-output -d 'hard limit of -client-output-buffer-limit pubsub, in bytes or with a…' -x
complete -c redis-cluster-proxy -o read-prefer -d 'where to send read commands' -x -a 'READ_PREFER_MASTER READ_PREFER_SLAVE READ_PREFER_SLAVE_IDC'
complete -c redis-cluster-proxy -o ready-when -d 'when /readyz returns 200' -x -a 'all-slots any-slot'
complete -c redis-cluster-proxy -o request-timeout -d 'how long a node may owe a reply before the proxy closes the…' -x
complete -c redis-cluster-proxy -o reuse-port -d 'let several proxies listen on the same -addr'
complete -c redis-cluster-proxy -o slots-reload-interval -d 'how often to refresh the topology' -x
complete -c redis-cluster-proxy -o slowlog-log-slower-than -d 'log requests that take at least this many microseconds to PROXY…' -x
complete -c redis-cluster-proxy -o startup-nodes -d 'cluster nodes to ask for the topology at startup, as host:port…' -x
complete -c redis-cluster-proxy -o take-over -d 'path of a Unix socket for upgrades that refuse and close no client' -x
complete -c redis-cluster-proxy -o tls-addr -d 'address to listen on for TLS clients, besides -addr' -x
complete -c redis-cluster-proxy -o tls-auth-clients -d 'whether TLS clients must present a certificate signed by…' -x -a 'yes no optional'
complete -c redis-cluster-proxy -o tls-auth-clients-user -d 'log in TLS clients as the user that their certificate names' -x
complete -c redis-cluster-proxy -o tls-ca-cert-file -d 'PEM file with the certificate authorities that sign client…' -r -F
complete -c redis-cluster-proxy -o tls-cert-file -d 'PEM file with the proxy\'s certificate, followed by any intermediate…' -r -F
complete -c redis-cluster-proxy -o tls-ciphersuites -d 'cipher suites to accept from clients, separated by colons, such as…' -x
complete -c redis-cluster-proxy -o tls-key-file -d 'PEM file with the private key of -tls-cert-file' -r -F
complete -c redis-cluster-proxy -o tls-protocols -d 'TLS versions to accept from clients, separated by spaces' -x
complete -c redis-cluster-proxy -o top -d 'show the live status of a running proxy in the terminal' -x
complete -c redis-cluster-proxy -o tracking-max-keys -d 'how many keys each worker tracks for clients that use CLIENT TRACKING' -x
complete -c redis-cluster-proxy -o transaction-idle-timeout -d 'how long a client may pause within a transaction before the proxy…' -x
complete -c redis-cluster-proxy -o unix-socket-perm -d 'access mode of the Unix sockets of -addr, in octal, such as 770' -x
complete -c redis-cluster-proxy -o user-max-clients -d 'how many clients may be logged in as a user at once, over all…' -x
complete -c redis-cluster-proxy -o user-rate-limit -d 'how many commands per second all clients of a user may send together…' -x
complete -c redis-cluster-proxy -o user-settings -d 'settings for single users, such as…' -x
complete -c redis-cluster-proxy -o version -d 'print the version and exit'
complete -c redis-cluster-proxy -o write-stall -d 'close a client that has not read any of its pending replies for this…' -x
