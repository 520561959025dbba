#include "pg/settings.hpp"

namespace saga::pg::settings {

int batch_size = 500;
int batch_time_ms = 20;
int crash_limit = 2;
int dead_letter_retention_days = 30;
int idempotency_retention_days = 30;
int lane_limit = 16384;
int max_causation_depth = 32;
int max_events_per_transaction = 10'000'000;
int max_key_length = 1024;
int max_parked_per_key = 100'000;
int max_payload_kb = 256;
int max_result_kb = 256;
int max_workers = 10;
char *service_name = nullptr;
bool start_paused = false;
bool superuser_handlers = true;
int sweep_interval_s = 30;
int tick_interval_ms = 100;
int worker_idle_timeout_ms = 10'000;

namespace {

struct IntSetting {
  const char *name;
  const char *description;
  int *value;
  int initial;
  int min;
  int max;
  GucContext context;
  int flags;
};

const std::array kIntegers{
    IntSetting{"saga.batch_size", "Most events that one transaction of a lane delivers.", &batch_size, 500, 1, 10'000,
               PGC_SIGHUP, 0},
    IntSetting{"saga.batch_time", "A batch that has run this long commits, so that slow handlers commit alone.",
               &batch_time_ms, 20, 0, 60'000, PGC_SIGHUP, GUC_UNIT_MS},
    IntSetting{"saga.crash_limit", "Crashes while an event runs alone after which it becomes a dead letter.",
               &crash_limit, 2, 1, 100, PGC_SIGHUP, 0},
    IntSetting{"saga.dead_letter_retention", "Days that dead letters are kept.", &dead_letter_retention_days, 30, 1,
               36'500, PGC_SIGHUP, 0},
    IntSetting{"saga.idempotency_retention", "Days that ids and keys given by publishers are remembered.",
               &idempotency_retention_days, 30, 1, 36'500, PGC_SIGHUP, 0},
    IntSetting{"saga.max_causation_depth", "Longest chain of events in which each caused the next.",
               &max_causation_depth, 32, 1, 10'000, PGC_SIGHUP, 0},
    IntSetting{"saga.max_events_per_transaction", "Most events that one transaction may publish.",
               &max_events_per_transaction, 10'000'000, 1, INT_MAX, PGC_SIGHUP, 0},
    IntSetting{"saga.max_key_length", "Longest event key, in bytes.", &max_key_length, 1024, 1, 2000, PGC_SIGHUP,
               GUC_UNIT_BYTE},
    IntSetting{"saga.max_lanes", "Lanes that the cluster has room for in shared memory.", &lane_limit, 16384, 64,
               1'048'576, PGC_POSTMASTER, 0},
    IntSetting{"saga.max_parked_per_key", "Most events that may wait behind one held key; then the lane stops.",
               &max_parked_per_key, 100'000, 1, INT_MAX, PGC_SIGHUP, 0},
    IntSetting{"saga.max_payload_size", "Largest payload of an event.", &max_payload_kb, 256, 1, 200 * 1024, PGC_SIGHUP,
               GUC_UNIT_KB},
    IntSetting{"saga.max_result_size", "Largest result of a handler that is kept.", &max_result_kb, 256, 1, 200 * 1024,
               PGC_SIGHUP, GUC_UNIT_KB},
    IntSetting{"saga.max_workers", "Most handler workers of one database.", &max_workers, 10, 0, 256, PGC_SIGHUP, 0},
    IntSetting{"saga.sweep_interval", "Time between two looks at everything, the safety net of the wake-ups.",
               &sweep_interval_s, 30, 1, 3600, PGC_SIGHUP, GUC_UNIT_S},
    IntSetting{"saga.tick_interval", "Least time between two ticks while events are published.", &tick_interval_ms, 100,
               10, 60'000, PGC_SIGHUP, GUC_UNIT_MS},
    IntSetting{"saga.worker_idle_timeout", "A handler worker without work for this long ends.", &worker_idle_timeout_ms,
               10'000, 0, 86'400'000, PGC_SIGHUP, GUC_UNIT_MS},
};

}  // namespace

void define() {
  for (const IntSetting &s : kIntegers) {
    // Such a setting exists only while the server starts: a session that loads the library has nothing to size.
    if (s.context == PGC_POSTMASTER && !process_shared_preload_libraries_in_progress) continue;
    DefineCustomIntVariable(s.name, s.description, nullptr, s.value, s.initial, s.min, s.max, s.context, s.flags,
                            nullptr, nullptr, nullptr);
  }
  DefineCustomStringVariable("saga.service_name", "Name of the publishing service; empty: the application_name.",
                             nullptr, &service_name, "", PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("saga.start_paused", "Start paused: for copies made of a physical backup.", nullptr,
                           &start_paused, false, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("saga.superuser_handlers", "Whether superusers may own running handlers.", nullptr,
                           &superuser_handlers, true, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
#if PG_VERSION_NUM >= 150000
  MarkGUCPrefixReserved("saga");
#else
  EmitWarningsOnPlaceholders("saga");
#endif
}

}  // namespace saga::pg::settings
