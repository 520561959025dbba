// Every setting of the product, alphabetical, in one table (settings.cpp).
#pragma once

#include "pg/postgres.hpp"

namespace saga::pg::settings {

extern int batch_size;
extern int batch_time_ms;
extern int crash_limit;
extern int dead_letter_retention_days;
extern int idempotency_retention_days;
extern int lane_limit;
extern int max_causation_depth;
extern int max_events_per_transaction;
extern int max_key_length;
extern int max_parked_per_key;
extern int max_payload_kb;
extern int max_result_kb;
extern int max_workers;
extern char *service_name;
extern bool start_paused;
extern bool superuser_handlers;
extern int sweep_interval_s;
extern int tick_interval_ms;
extern int worker_idle_timeout_ms;

/// Defines them all; called once, by _PG_init.
void define();

}  // namespace saga::pg::settings
