// The library's entry: settings, shared memory, wake-up, launcher; nothing else.
#include "pg/guard.hpp"
#include "pg/settings.hpp"
#include "worker/processes.hpp"
#include "worker/wakeup.hpp"

extern "C" {

SAGA_EXPORT const Pg_magic_struct *Pg_magic_func(void);
PG_MODULE_MAGIC;

SAGA_EXPORT void _PG_init(void);

void _PG_init(void) {
  saga::pg::settings::define();
  if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade) return;
  saga::worker::request_shared_state();
  saga::worker::install_wakeup();
  saga::worker::register_launcher();
}
}
