//! The rule by which each field of INFO is merged, with the reason: a table.
//!
//! The result is what one server would show: sizes and counts are summed; what all masters have in common is taken
//! from one; "in progress" is true if it is true anywhere. A field that is not listed is summed if all of its values
//! are numbers, otherwise it is taken from the first master.

/// How the values of one field become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The sum.
    Add,
    /// The greatest.
    Most,
    /// The least.
    Least,
    /// The first master's.
    First,
    /// `ok`, unless one says something else.
    Worst,
    /// The sum over machines, by their addresses: what all masters of one machine have together.
    PerHost,
    /// The sum, and 0 (which is no limit) if any has none.
    Limit,
    /// In units that people read, of the field without `_human`.
    Human,
    /// The first field by the second (or by the second less the third), times a factor, with two decimals and this
    /// behind.
    Quotient(&'static str, &'static [&'static str], f64, &'static str),
}

use Rule::{Add, First, Least, Limit, Most, PerHost, Quotient, Worst};

const SIZE: &str = "memory of each process: the whole has as much as all together";
const EVENTS: &str = "events counted by each master";
const ALIKE: &str = "every master has the same";
const RATIO: &str = "the ratio of the sums";
const GOING_ON: &str = "it goes on while it goes on anywhere";
const LONGEST: &str = "a time: the whole took as long as the slowest";
const SNAPSHOT: &str =
    "one of the whole is one of each master: there are as many as every master has";
const SETTING: &str = "a setting: the first master's stands for all";

/// A field, its rule, and why.
pub type FieldRule = (&'static str, Rule, &'static str);

/// The fields of Memory, Persistence and Stats of Redis 6 to 8 and Valkey 7 to 9.
#[rustfmt::skip]
pub const FIELDS: &[FieldRule] = &[
    // Memory
    ("used_memory", Add, SIZE),
    ("used_memory_rss", Add, SIZE),
    ("used_memory_peak", Add, "the peaks together: the whole never had more"),
    ("used_memory_peak_time", Most, "when the last of them had its peak"),
    ("used_memory_peak_perc", Quotient("used_memory", &["used_memory_peak"], 100.0, "%"), RATIO),
    ("used_memory_overhead", Add, SIZE),
    ("used_memory_startup", Add, SIZE),
    ("used_memory_dataset", Add, SIZE),
    ("used_memory_dataset_perc", Quotient("used_memory_dataset", &["used_memory", "used_memory_startup"], 100.0, "%"), RATIO),
    ("allocator_allocated", Add, SIZE),
    ("allocator_active", Add, SIZE),
    ("allocator_resident", Add, SIZE),
    ("allocator_muzzy", Add, SIZE),
    ("total_system_memory", PerHost, "memory of a machine, which masters on it share"),
    ("used_memory_lua", Add, SIZE),
    ("used_memory_vm_eval", Add, SIZE),
    ("used_memory_scripts_eval", Add, SIZE),
    ("number_of_cached_scripts", Most, "every master has the same scripts, but for those that only one was sent: the proxy knows them (see `know_scripts`)"),
    ("number_of_functions", Most, ALIKE),
    ("number_of_libraries", Most, ALIKE),
    ("used_memory_vm_functions", Add, SIZE),
    ("used_memory_vm_total", Add, SIZE),
    ("used_memory_functions", Add, SIZE),
    ("used_memory_scripts", Add, SIZE),
    ("maxmemory", Limit, "the whole may have as much as all together, and is without a limit if one is"),
    ("maxmemory_policy", First, SETTING),
    ("allocator_frag_ratio", Quotient("allocator_active", &["allocator_allocated"], 1.0, ""), RATIO),
    ("allocator_frag_bytes", Add, SIZE),
    ("allocator_rss_ratio", Quotient("allocator_resident", &["allocator_active"], 1.0, ""), RATIO),
    ("allocator_rss_bytes", Add, SIZE),
    ("rss_overhead_ratio", Quotient("used_memory_rss", &["allocator_resident"], 1.0, ""), RATIO),
    ("rss_overhead_bytes", Add, SIZE),
    ("mem_fragmentation_ratio", Quotient("used_memory_rss", &["used_memory"], 1.0, ""), RATIO),
    ("mem_fragmentation_bytes", Add, SIZE),
    ("mem_not_counted_for_evict", Add, SIZE),
    ("mem_replication_backlog", Add, SIZE),
    ("mem_total_replication_buffers", Add, SIZE),
    ("mem_replica_full_sync_buffer", Add, SIZE),
    ("mem_clients_slaves", Add, SIZE),
    ("mem_clients_normal", Add, SIZE),
    ("mem_cluster_links", Add, SIZE),
    ("mem_cluster_slot_migration_output_buffer", Add, SIZE),
    ("mem_cluster_slot_migration_input_buffer", Add, SIZE),
    ("mem_cluster_slot_migration_input_buffer_peak", Add, SIZE),
    ("mem_aof_buffer", Add, SIZE),
    ("mem_overhead_db_hashtable_rehashing", Add, SIZE),
    ("databases_global_metadata_overhead", Add, SIZE),
    ("mem_allocator", First, SETTING),
    ("active_defrag_running", Most, "a share of one processor's time: the busiest master's"),
    ("lazyfree_pending_objects", Add, "things that wait at each master"),
    ("lazyfreed_objects", Add, EVENTS),

    // Persistence
    ("loading", Most, GOING_ON),
    ("async_loading", Most, GOING_ON),
    ("loading_start_time", Least, "since the first began"),
    ("loading_total_bytes", Add, "bytes of each master's file"),
    ("loading_loaded_bytes", Add, "bytes of each master's file"),
    ("loading_rdb_used_mem", Add, SIZE),
    ("loading_loaded_perc", Quotient("loading_loaded_bytes", &["loading_total_bytes"], 100.0, ""), RATIO),
    ("loading_eta_seconds", Most, LONGEST),
    ("current_cow_peak", Add, SIZE),
    ("current_cow_size", Add, SIZE),
    ("current_cow_size_age", Most, "as old as the oldest of what was added"),
    ("current_fork_perc", Most, "progress of each fork; a master without one says 0"),
    ("current_save_keys_processed", Add, "keys of each master"),
    ("current_save_keys_total", Add, "keys of each master"),
    ("rdb_changes_since_last_save", Add, "changes at each master"),
    ("rdb_bgsave_in_progress", Most, GOING_ON),
    ("rdb_last_save_time", Least, "the data set is as old as its oldest part (as LASTSAVE says)"),
    ("rdb_last_bgsave_status", Worst, "one that failed leaves the whole incomplete"),
    ("rdb_last_bgsave_time_sec", Most, LONGEST),
    ("rdb_current_bgsave_time_sec", Most, LONGEST),
    ("rdb_saves", Least, SNAPSHOT),
    ("rdb_saves_consecutive_failures", Most, "the master that fails most is the one to look at"),
    ("rdb_last_cow_size", Add, SIZE),
    ("rdb_last_load_keys_expired", Add, "keys of each master's file"),
    ("rdb_last_load_keys_loaded", Add, "keys of each master's file"),
    ("aof_enabled", Least, "the whole has a log if every master has"),
    ("aof_rewrite_in_progress", Most, GOING_ON),
    ("aof_rewrite_scheduled", Most, GOING_ON),
    ("aof_last_rewrite_time_sec", Most, LONGEST),
    ("aof_current_rewrite_time_sec", Most, LONGEST),
    ("aof_last_bgrewrite_status", Worst, "one that failed leaves the whole incomplete"),
    ("aof_rewrites", Least, SNAPSHOT),
    ("aof_rewrites_consecutive_failures", Most, "the master that fails most is the one to look at"),
    ("aof_last_write_status", Worst, "one that failed leaves the whole incomplete"),
    ("aof_last_cow_size", Add, SIZE),
    ("module_fork_in_progress", Most, GOING_ON),
    ("module_fork_last_cow_size", Add, SIZE),
    ("aof_current_size", Add, "bytes of each master's file"),
    ("aof_base_size", Add, "bytes of each master's file"),
    ("aof_pending_rewrite", Most, GOING_ON),
    ("aof_buffer_length", Add, SIZE),
    ("aof_rewrite_buffer_length", Add, SIZE),
    ("aof_pending_bio_fsync", Add, "things that wait at each master"),
    ("aof_delayed_fsync", Add, EVENTS),

    // Stats, but for what is this proxy's own
    ("total_net_repl_input_bytes", Add, EVENTS),
    ("total_net_repl_output_bytes", Add, EVENTS),
    ("instantaneous_input_repl_kbps", Add, "what flows at each master now"),
    ("instantaneous_output_repl_kbps", Add, "what flows at each master now"),
    ("sync_full", Add, EVENTS),
    ("sync_partial_ok", Add, EVENTS),
    ("sync_partial_err", Add, EVENTS),
    ("expired_subkeys", Add, EVENTS),
    ("expired_keys", Add, EVENTS),
    ("expired_keys_active", Add, EVENTS),
    ("expired_stale_perc", Most, "a share of each master's own keys: the worst of them"),
    ("expired_time_cap_reached_count", Add, EVENTS),
    ("expire_cycle_cpu_milliseconds", Add, "time of each master's processor"),
    ("evicted_keys", Add, EVENTS),
    ("evicted_clients", Add, EVENTS),
    ("evicted_scripts", Most, "every master has the same scripts, and evicts its own copy"),
    ("total_eviction_exceeded_time", Add, "time of each master's processor"),
    ("current_eviction_exceeded_time", Most, LONGEST),
    ("keyspace_hits", Add, EVENTS),
    ("keyspace_misses", Add, EVENTS),
    ("latest_fork_usec", Most, LONGEST),
    ("total_forks", Add, EVENTS),
    ("migrate_cached_sockets", Add, "things that each master has"),
    ("slave_expires_tracked_keys", Add, "things that each master has"),
    ("active_defrag_hits", Add, EVENTS),
    ("active_defrag_misses", Add, EVENTS),
    ("active_defrag_key_hits", Add, EVENTS),
    ("active_defrag_key_misses", Add, EVENTS),
    ("total_active_defrag_time", Add, "time of each master's processor"),
    ("current_active_defrag_time", Most, LONGEST),
    ("tracking_total_keys", Add, "things that each master has"),
    ("tracking_total_items", Add, "things that each master has"),
    ("tracking_total_prefixes", Add, "things that each master has"),
    ("unexpected_error_replies", Add, EVENTS),
    ("dump_payload_sanitizations", Add, EVENTS),
    ("total_reads_processed", Add, EVENTS),
    ("total_writes_processed", Add, EVENTS),
    ("io_threaded_reads_processed", Add, EVENTS),
    ("io_threaded_writes_processed", Add, EVENTS),
    ("io_threaded_freed_objects", Add, EVENTS),
    ("io_threaded_accept_processed", Add, EVENTS),
    ("io_threaded_poll_processed", Add, EVENTS),
    ("io_threaded_total_prefetch_batches", Add, EVENTS),
    ("io_threaded_total_prefetch_entries", Add, EVENTS),
    ("client_query_buffer_limit_disconnections", Add, EVENTS),
    ("client_output_buffer_limit_disconnections", Add, EVENTS),
    ("reply_buffer_shrinks", Add, EVENTS),
    ("reply_buffer_expands", Add, EVENTS),
    ("eventloop_cycles", Add, EVENTS),
    ("eventloop_duration_sum", Add, "time of each master's processor"),
    ("eventloop_duration_cmd_sum", Add, "time of each master's processor"),
    ("instantaneous_eventloop_cycles_per_sec", Add, "what happens at each master now"),
    ("instantaneous_eventloop_duration_usec", Most, LONGEST),
    ("acl_access_denied_auth", Add, EVENTS),
    ("acl_access_denied_cmd", Add, EVENTS),
    ("acl_access_denied_key", Add, EVENTS),
    ("acl_access_denied_channel", Add, EVENTS),
    ("acl_access_denied_tls_cert", Add, EVENTS),
    ("acl_access_denied_db", Add, EVENTS),
];

/// The rule for a field.
pub fn rule(name: &str) -> Rule {
    if name.ends_with("_human") {
        return Rule::Human;
    }
    let row = FIELDS.iter().find(|(own, ..)| *own == name);
    row.map_or(Add, |(_, rule, _)| *rule)
}
