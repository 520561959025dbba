// The background processes: one launcher per cluster, one engine per database with the extension, handler workers
// per (database, role). Who starts whom, and what a slot goes through, is drawn in src/README.md.
#pragma once

#include "worker/shared_state.hpp"

namespace saga::worker {

/// What a started process must know; travels in bgw_extra.
struct StartInfo {
  Oid database;
  Oid role;
  int slot;
  std::uint64_t generation;
};
static_assert(sizeof(StartInfo) <= BGW_EXTRALEN);

/// Registers the launcher. Called by _PG_init of a preloaded library.
void register_launcher();

/// Asks for a new process. nullptr: no worker slot is free. In the current memory context.
BackgroundWorkerHandle *start_process(const char *entry_point, const char *title, const StartInfo &info);

/// What the current process was started with.
StartInfo start_info();

/// Signal handlers and settings that every process of ours has. reload_settings() after a SIGHUP.
void set_up_process();
void pin_session_settings();
void reload_settings_if_asked();

/// Ends every process of ours that is connected to a database, before it is dropped or copied.
void leave_database(Oid database) noexcept;

}  // namespace saga::worker
