"""Envoy's redis_proxy filter over a cluster of three masters, one worker. Envoy is not installed by `make bench`: put the
program into CONTENDER_DIR."""

PROGRAM = "envoy"
SERVERS = "cluster"
SUFFIX = ".yaml"
CONFIG = """\
static_resources:
  listeners:
  - name: redis
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: redis
          settings: {{ op_timeout: 60s }}
          prefix_routes: {{ catch_all_route: {{ cluster: nodes }} }}
  clusters:
  - name: nodes
    connect_timeout: 1s
    lb_policy: CLUSTER_PROVIDED
    cluster_type:
      name: envoy.clusters.redis
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig
        cluster_refresh_rate: 30s
    load_assignment:
      cluster_name: nodes
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{ socket_address: {{ address: {hosts[0]}, port_value: {ports[0]} }} }}
"""


def command(program, config, port, servers):
    return [program, "-c", config, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart",
            "--base-id", str(port)]


def version(program):
    return [program, "--version"]
