//! METRICS.md, made from the table.

use super::{FAMILIES, Kind};

/// METRICS.md.
pub fn document() -> String {
    let mut text = "# Metrics\n\nWhat `/metrics` of the debug address (`-debug-addr`) tells, in the text format of \
        OpenMetrics. Counters count from the\nstart, or from the last CONFIG RESETSTAT. Histograms have the bounds \
        50 µs, 100 µs, 250 µs and so on to 2.5 s.\nNo label is a key, a slot or a client: `PROXY HOTKEYS`, `PROXY REDIRECTS`, `/api/v1/status` and `/api/v1/hotkeys` name\nthose that matter.\n\nThis file is made from the table in `src/control/metrics/families.rs`: \
        `UPDATE_METRICS=1 cargo test --test it metrics::`.\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n"
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
