//! dist/docs/metrics.md, made from the table.

use super::{FAMILIES, Kind};

/// dist/docs/metrics.md.
pub fn document() -> String {
    let mut text = "# Metrics\n\n\
        These are the metrics of `/metrics` at `-debug-addr`, in the OpenMetrics text format that Prometheus reads.\n\
        [Operations](operations.md#what-to-watch) says which to watch first.\n\n\
        Counters start at zero when the proxy starts, and after CONFIG RESETSTAT. Histograms have buckets from 50 µs to \
        2.5 s.\nLabels never contain keys, slots or clients; for those, see `PROXY HOTKEYS`, `PROXY REDIRECTS` and \
        `/api/v1/status`.\n\n\
        Generated from `src/control/metrics/families.rs`: `UPDATE_METRICS=1 cargo test --test it metrics::`.\n\n\
        | metric | type | labels | meaning |\n|---|---|---|---|\n"
        .to_string();
    for family in FAMILIES {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels = family.labels.join(", ");
        text += &format!(
            "| {} | {kind} | {labels} | {} |\n",
            family.name, family.help
        );
    }
    text
}
