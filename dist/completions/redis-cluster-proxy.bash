# Made from the table of flags: UPDATE_DIST=1 cargo test --test it dist::

_redis_cluster_proxy() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} behind=
    # "-flag=value" is three words here.
    if [[ $cur == "=" ]]; then
        cur= behind=1
    elif [[ $prev == "=" ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]} behind=1
    fi
    if [[ $prev == -* ]]; then
        prev=${prev#-}
        case ${prev#-} in
            admin-commands) COMPREPLY=($(compgen -W "yes no loopback" -- "$cur")); return ;;
            cross-slot-transactions) COMPREPLY=($(compgen -W "refuse per-slot" -- "$cur")); return ;;
            log-format) COMPREPLY=($(compgen -W "text json" -- "$cur")); return ;;
            log-level) COMPREPLY=($(compgen -W "debug info warn error" -- "$cur")); return ;;
            pubsub-order) COMPREPLY=($(compgen -W "all channel" -- "$cur")); return ;;
            read-prefer) COMPREPLY=($(compgen -W "READ_PREFER_MASTER READ_PREFER_SLAVE READ_PREFER_SLAVE_IDC" -- "$cur")); return ;;
            ready-when) COMPREPLY=($(compgen -W "all-slots any-slot" -- "$cur")); return ;;
            tls-auth-clients) COMPREPLY=($(compgen -W "yes no optional" -- "$cur")); return ;;
            access-log-file|acl-file|backend-tls-ca-cert-file|backend-tls-cert-file|backend-tls-key-file|config|log-file|password-file|password-old-file|tls-ca-cert-file|tls-cert-file|tls-key-file) COMPREPLY=($(compgen -f -- "$cur")); compopt -o filenames 2>/dev/null; return ;;
            addr|auth|auth-failure-delay|backend-connections|backend-idle-connections|backend-idle-timeout|backend-init-connections|backend-password|backend-password-old|backend-tls-server-name|backend-user|client-idle-timeout|client-output-buffer-limit|client-password|client-password-old|client-query-buffer-limit|cluster-face|coalesce|connect-timeout|cpu-affinity|databases|debug-addr|debug-token|drain-grace|drain-timeout|idc-prefixes|log-every-n|login-timeout|max-blocked-clients|max-clients|max-memory|max-procs|max-transactions|max-users|namespace|namespace-addrs|namespace-users|near-cache|near-cache-min-reads|near-cache-prefixes|near-cache-staleness|near-cache-tracking|node-map|nodes-allowed|park-timeout|password|password-old|proxy-protocol|pubsub-output|request-timeout|slots-reload-interval|slowlog-log-slower-than|startup-nodes|take-over|tls-addr|tls-auth-clients-user|tls-ciphersuites|tls-protocols|top|tracking-max-keys|transaction-idle-timeout|unix-socket-perm|user-max-clients|user-rate-limit|user-settings|write-stall) return ;;
            acl-scripts|backend-tls|backend-tls-verify|busy-poll|check|debug-tls|namespace-channels|protected-mode|reuse-port|version) [[ $behind ]] && { COMPREPLY=($(compgen -W "true false" -- "$cur")); return; } ;;
        esac
    fi
    local dashes=-
    [[ $cur == --* ]] && dashes=--
    COMPREPLY=($(compgen -P "$dashes" -W "access-log-file acl-file acl-scripts addr admin-commands auth auth-failure-delay backend-connections backend-idle-connections backend-idle-timeout backend-init-connections backend-password backend-password-old backend-tls backend-tls-ca-cert-file backend-tls-cert-file backend-tls-key-file backend-tls-server-name backend-tls-verify backend-user busy-poll check client-idle-timeout client-output-buffer-limit client-password client-password-old client-query-buffer-limit cluster-face coalesce config connect-timeout cpu-affinity cross-slot-transactions databases debug-addr debug-tls debug-token drain-grace drain-timeout idc-prefixes log-every-n log-file log-format log-level login-timeout max-blocked-clients max-clients max-memory max-procs max-transactions max-users namespace namespace-addrs namespace-channels namespace-users near-cache near-cache-min-reads near-cache-prefixes near-cache-staleness near-cache-tracking node-map nodes-allowed park-timeout password password-file password-old password-old-file protected-mode proxy-protocol pubsub-order pubsub-output read-prefer ready-when request-timeout reuse-port slots-reload-interval slowlog-log-slower-than startup-nodes take-over tls-addr tls-auth-clients tls-auth-clients-user tls-ca-cert-file tls-cert-file tls-ciphersuites tls-key-file tls-protocols top tracking-max-keys transaction-idle-timeout unix-socket-perm user-max-clients user-rate-limit user-settings version write-stall" -- "${cur#"$dashes"}"))
}
complete -F _redis_cluster_proxy redis-cluster-proxy
